package bpf

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestAddr(t *testing.T) {
	for _, s := range []string{"10.1.2.3", "2001:db8::1", "0.0.0.0"} {
		a := netip.MustParseAddr(s)
		if got := addrOf(a).addr(); got != a {
			t.Errorf("%v became %v", a, got)
		}
	}
	if got := addrOf(netip.MustParseAddr("::ffff:10.1.2.3")); got != addrOf(netip.MustParseAddr("10.1.2.3")) {
		t.Error("an IPv4 address and its mapped form differ")
	}
	if got := (kernelAddr{}).addr(); got.IsValid() {
		t.Errorf("no address became %v", got)
	}
}

// Each port is in exactly the block that it should be in, and in one only.
func TestPortPrefixes(t *testing.T) {
	for _, c := range []struct {
		lo, hi uint16
		blocks int
	}{{0, 65535, 1}, {80, 80, 1}, {8000, 8085, 4}, {1, 65534, 30}, {32768, 65535, 1}, {65535, 65535, 1}} {
		blocks := portPrefixes(c.lo, c.hi)
		if c.blocks != len(blocks) {
			t.Errorf("%d-%d: %d blocks, want %d: %v", c.lo, c.hi, len(blocks), c.blocks, blocks)
		}
		for port := range 65536 {
			hits := 0
			for _, b := range blocks {
				if uint32(port)>>(16-b.bits) == uint32(b.port)>>(16-b.bits) {
					hits++
				}
			}
			want := 0
			if port >= int(c.lo) && port <= int(c.hi) {
				want = 1
			}
			if hits != want {
				t.Fatalf("%d-%d: port %d is in %d blocks, want %d", c.lo, c.hi, port, hits, want)
			}
		}
	}
}

// cEnum returns the names of an enumeration of bpf/lib/types.h, in order.
func cEnum(t *testing.T, start string) []string {
	t.Helper()
	src, err := os.ReadFile("../../../bpf/lib/types.h")
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(src), start)
	body, _, end := strings.Cut(body, "};")
	if !ok || !end {
		t.Fatalf("types.h has no %q", start)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\t([A-Z][A-Z_0-9]*)\b`).FindAllStringSubmatch(body, -1) {
		names = append(names, m[1])
	}
	return names
}

// The reasons to drop are the same in C and in Go, in the same order.
func TestDropsMatchC(t *testing.T) {
	names := cEnum(t, "enum drop {")
	if len(names) != NumDrops+1 {
		t.Fatalf("C has %d reasons, Go %d", len(names)-1, NumDrops)
	}
	for i, name := range names[:NumDrops] {
		want := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "DROP_"), "_", ""))
		if got := strings.ToLower(Drop(i).String()); got != want {
			t.Errorf("reason %d is %s in C and %s in Go", i, name, Drop(i))
		}
	}
}
