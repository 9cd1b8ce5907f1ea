package model

import (
	"fmt"
	"net/netip"
)

// Protocol is an IP protocol number.
type Protocol uint8

// The protocols that a Service or a policy may name.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String is the name as Kubernetes writes it.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return fmt.Sprintf("Protocol(%d)", uint8(p))
}

// ParseProtocol knows TCP, UDP and SCTP; "" is TCP, the API's default.
func ParseProtocol(s string) (Protocol, bool) {
	switch s {
	case "", "TCP":
		return TCP, true
	case "UDP":
		return UDP, true
	case "SCTP":
		return SCTP, true
	}
	return 0, false
}

// Family is an IP address family.
type Family uint8

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of a; v4-mapped addresses are IPv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// IntOrString is a port given by number or by name. Exactly one is set; the
// zero value means "not given".
type IntOrString struct {
	Int uint16
	Str string
}

// IsZero says that neither number nor name is given.
func (v IntOrString) IsZero() bool { return v.Int == 0 && v.Str == "" }

func (v IntOrString) String() string {
	if v.Str != "" {
		return v.Str
	}
	return fmt.Sprint(v.Int)
}

// CutFamily returns those of addrs that belong to f.
func CutFamily(addrs []netip.Addr, f Family) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if FamilyOf(a) == f {
			out = append(out, a)
		}
	}
	return out
}
