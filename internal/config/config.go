// Package config reads the settings that all roles share. They come from the
// ConfigMap fairway-config, mounted as a directory with one file per key, so
// that the same manifest serves every cluster. It only parses; it knows
// nothing of who uses a setting.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// DefaultDir is where the chart mounts the ConfigMap.
const DefaultDir = "/etc/fairway"

// Config is the content of the ConfigMap. Lists are separated by commas or
// white space; an absent key has the zero value unless said otherwise.
type Config struct {
	APIServer     string         // key apiServer: URL of the API server for processes that start before Services work; "": in-cluster address
	ClusterDomain string         // key clusterDomain; default "cluster.local"
	DNSIP         netip.Addr     // key dnsIP: ClusterIP of the DNS Service
	PodCIDRs      []netip.Prefix // key podCIDRs
	ServiceCIDRs  []netip.Prefix // key serviceCIDRs
	LBPools       []Pool         // key lbPools: "NAME=RANGE[+RANGE…]" or just a range, which belongs to pool "default"
}

// Pool is a named set of addresses for Services of type LoadBalancer.
type Pool struct {
	Name   string
	Ranges []Range
}

// Range is an inclusive range of addresses of one family.
type Range struct{ From, To netip.Addr }

// Contains reports whether a is in r.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.From.BitLen() && r.From.Compare(a) <= 0 && a.Compare(r.To) <= 0
}

func (r Range) String() string { return r.From.String() + "-" + r.To.String() }

// Load reads dir. A missing directory is an empty Config with defaults; a value
// that does not parse is an error that names the key.
func Load(dir string) (Config, error) {
	c := Config{ClusterDomain: "cluster.local"}
	var errs []error
	key := func(name string, parse func(string) error) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			if s := strings.TrimSpace(string(b)); s != "" {
				err = parse(s)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("config key %s: %w", name, err))
		}
	}
	key("apiServer", func(s string) error { c.APIServer = s; return nil })
	key("clusterDomain", func(s string) error { c.ClusterDomain = strings.Trim(s, "."); return nil })
	key("dnsIP", func(s string) (err error) { c.DNSIP, err = netip.ParseAddr(s); return })
	key("podCIDRs", func(s string) (err error) { c.PodCIDRs, err = prefixes(s); return })
	key("serviceCIDRs", func(s string) (err error) { c.ServiceCIDRs, err = prefixes(s); return })
	key("lbPools", func(s string) (err error) { c.LBPools, err = ParsePools(s); return })
	return c, errors.Join(errs...)
}

func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

func prefixes(s string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, f := range fields(s) {
		p, err := netip.ParsePrefix(f)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// ParsePools parses the value of lbPools. Pools keep the order of their first
// mention; a range is a CIDR, a single address, or FROM-TO.
func ParsePools(s string) ([]Pool, error) {
	var pools []Pool
	for _, f := range fields(s) {
		name, ranges, ok := strings.Cut(f, "=")
		if !ok {
			name, ranges = "default", f
		}
		var rs []Range
		for _, text := range strings.Split(ranges, "+") {
			r, err := ParseRange(text)
			if err != nil {
				return nil, fmt.Errorf("pool %q: %w", name, err)
			}
			rs = append(rs, r)
		}
		i := 0
		for i < len(pools) && pools[i].Name != name {
			i++
		}
		if i == len(pools) {
			pools = append(pools, Pool{Name: name})
		}
		pools[i].Ranges = append(pools[i].Ranges, rs...)
	}
	return pools, nil
}

// ParseRange parses a CIDR, an address, or FROM-TO with FROM ≤ TO of one family.
func ParseRange(s string) (Range, error) {
	if from, to, ok := strings.Cut(s, "-"); ok {
		a, err := netip.ParseAddr(from)
		if err != nil {
			return Range{}, err
		}
		b, err := netip.ParseAddr(to)
		if err != nil {
			return Range{}, err
		}
		if a.BitLen() != b.BitLen() || b.Less(a) {
			return Range{}, fmt.Errorf("range %q: the end must not be before the start, nor of another family", s)
		}
		return Range{a, b}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return Range{a, a}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Range{}, fmt.Errorf("range %q: want a CIDR, an address, or FROM-TO", s)
	}
	return Range{p.Masked().Addr(), last(p)}, nil
}

// last returns the highest address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
