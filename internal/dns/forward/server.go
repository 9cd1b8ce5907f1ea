package forward

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Server is a name server and the way to ask it.
type Server struct {
	Addr netip.AddrPort
	// TLS is the name that its certificate must have; it is then asked over TLS
	// (RFC 7858) and in no other way. "": over UDP, over TCP if need be.
	TLS string
}

// String is what ParseServer reads.
func (s Server) String() string {
	if s.TLS == "" {
		return s.Addr.String()
	}
	return "tls://" + s.Addr.String() + "#" + s.TLS
}

// ParseServer parses "ADDRESS[:PORT]" or "tls://ADDRESS[:PORT][#NAME]". Without
// NAME the certificate must be for the address.
func ParseServer(s string) (Server, error) {
	rest, secure := strings.CutPrefix(s, "tls://")
	name, port := "", uint16(53)
	if secure {
		rest, name, _ = strings.Cut(rest, "#")
		port = 853
	}
	addr, err := netip.ParseAddrPort(rest)
	if a, e := netip.ParseAddr(strings.Trim(rest, "[]")); e == nil {
		addr, err = netip.AddrPortFrom(a, port), nil
	}
	if err != nil || addr.Port() == 0 || addr.Addr().IsUnspecified() {
		return Server{}, fmt.Errorf("server %q: want ADDRESS, ADDRESS:PORT or tls://ADDRESS#NAME", s)
	}
	if secure && name == "" {
		name = addr.Addr().String()
	}
	if net.ParseIP(name) == nil && strings.ContainsAny(name, "/:# ") {
		return Server{}, fmt.Errorf("server %q: %q is not the name of a certificate", s, name)
	}
	return Server{addr, name}, nil
}

// ParseServers parses a list of servers separated by commas.
func ParseServers(s string) ([]Server, error) {
	var out []Server
	for _, f := range strings.Split(s, ",") {
		a, err := ParseServer(strings.TrimSpace(f))
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}
