package forward

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// ParseResolvConf returns the name servers of a resolv.conf, in order.
func ParseResolvConf(r io.Reader) ([]Server, error) {
	var out []Server
	sc := bufio.NewScanner(r)
	for line := 1; sc.Scan(); line++ {
		fields := strings.Fields(sc.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(fields[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: nameserver %q: not an address", line, fields[1])
		}
		out = append(out, Server{Addr: netip.AddrPortFrom(a, 53)})
	}
	return out, sc.Err()
}

// ParseSearch returns the search domains of a resolv.conf; the last line that
// has some counts (resolv.conf(5)).
func ParseSearch(text string) (out []string) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "search" || f[0] == "domain") {
			out = f[1:]
		}
	}
	return out
}

// Own splits servers into those to ask and those that are this server itself:
// a question sent there would come back. listen is where the server listens,
// vips are the addresses of its Service, local are the machine's addresses.
func Own(servers []Server, listen netip.AddrPort, vips, local []netip.Addr) (ask, self []Server) {
	for _, s := range servers {
		if isSelf(s.Addr, listen, vips, local) {
			self = append(self, s)
		} else {
			ask = append(ask, s)
		}
	}
	return ask, self
}

func isSelf(s, listen netip.AddrPort, vips, local []netip.Addr) bool {
	for _, v := range vips {
		if s.Addr() == v && s.Port() == 53 {
			return true
		}
	}
	if s.Port() != listen.Port() {
		return false
	}
	if !listen.Addr().IsUnspecified() {
		return s.Addr() == listen.Addr()
	}
	if s.Addr().IsLoopback() || s.Addr().IsUnspecified() {
		return true
	}
	for _, a := range local {
		if s.Addr() == a {
			return true
		}
	}
	return false
}
