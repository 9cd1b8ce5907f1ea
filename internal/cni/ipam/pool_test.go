package ipam

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestPoolGivesEveryAddressOnceAndThenNone(t *testing.T) {
	tests := []struct {
		cidr string
		want int
	}{{"10.0.0.0/24", 254}, {"10.0.0.0/30", 2}, {"10.0.0.0/31", 2}, {"10.0.0.7/32", 1}, {"fd00::/124", 15}, {"255.255.255.0/24", 254}}
	for _, tt := range tests {
		cidr := netip.MustParsePrefix(tt.cidr)
		p := New([]netip.Prefix{cidr})
		seen := map[netip.Addr]bool{}
		for range tt.want {
			got, err := p.Allocate()
			if err != nil {
				t.Fatalf("%s: after %d addresses: %v", tt.cidr, len(seen), err)
			}
			if seen[got[0]] || !cidr.Contains(got[0]) {
				t.Fatalf("%s: %v is a duplicate or foreign", tt.cidr, got[0])
			}
			seen[got[0]] = true
		}
		if got, err := p.Allocate(); err == nil {
			t.Errorf("%s: got %v after all %d addresses", tt.cidr, got, tt.want)
		}
	}
}

func TestPoolReusesLate(t *testing.T) {
	p := New([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/29")}) // .1 to .6
	first, _ := p.Allocate()
	p.Free(first...)
	for range 5 {
		got, err := p.Allocate()
		if err != nil || got[0] == first[0] {
			t.Fatalf("got %v, %v before all others were used", got, err)
		}
		p.Free(got...)
	}
	if got, _ := p.Allocate(); got[0] != first[0] {
		t.Errorf("got %v after going round, want %v", got, first)
	}
}

func TestPoolGivesBothFamiliesOrNone(t *testing.T) {
	p := New([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/127")})
	for range 2 {
		if got, err := p.Allocate(); err != nil || len(got) != 2 {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if got, err := p.Allocate(); err == nil {
		t.Fatalf("got %v with no IPv6 address left", got)
	}
	if used := p.Used(); len(used) != 4 {
		t.Errorf("used %v: a failed Allocate must not keep half", used)
	}
}

// A pool behaves like a set, whatever the order of calls.
func TestPoolAgainstSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p := New([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/28")}) // 14 addresses
	held := map[netip.Addr]bool{}
	for range 20_000 {
		if r.IntN(2) == 0 {
			got, err := p.Allocate()
			if (err == nil) != (len(held) < 14) {
				t.Fatalf("with %d held: %v, %v", len(held), got, err)
			}
			if err == nil {
				if held[got[0]] {
					t.Fatalf("%v given twice", got[0])
				}
				held[got[0]] = true
			}
			continue
		}
		for a := range held {
			p.Free(a)
			delete(held, a)
			break
		}
	}
	if len(p.Used()) != len(held) {
		t.Errorf("%d used, %d held", len(p.Used()), len(held))
	}
}
