// Package wire is the DNS message format (RFC 1035, RFC 6891) for the hot path:
// it reads a query and writes a reply without allocating.
//
// It is not a DNS library: it knows just what a server of one zone and a
// forwarder need, and github.com/miekg/dns is the oracle that it is fuzzed
// against. Invariants: no input makes it panic or read outside the message; a
// Reply never grows beyond its limit.
package wire

import "fmt"

// RR types that have a meaning here.
const (
	TypeA     = 1
	TypeNS    = 2
	TypeCNAME = 5
	TypeSOA   = 6
	TypePTR   = 12
	TypeHINFO = 13
	TypeMX    = 15
	TypeTXT   = 16
	TypeAAAA  = 28
	TypeSRV   = 33
	TypeDNAME = 39
	TypeOPT   = 41
	TypeHTTPS = 65
	TypeTKEY  = 249 // the first of the types that are questions only (RFC 6895)
	TypeIXFR  = 251
	TypeAXFR  = 252
	TypeANY   = 255
)

// TypeName is the name of a type above, or TYPEnnn (RFC 3597, section 5).
func TypeName(t uint16) string {
	switch t {
	case TypeA:
		return "A"
	case TypeNS:
		return "NS"
	case TypeCNAME:
		return "CNAME"
	case TypeSOA:
		return "SOA"
	case TypePTR:
		return "PTR"
	case TypeHINFO:
		return "HINFO"
	case TypeMX:
		return "MX"
	case TypeTXT:
		return "TXT"
	case TypeAAAA:
		return "AAAA"
	case TypeSRV:
		return "SRV"
	case TypeHTTPS:
		return "HTTPS"
	case TypeANY:
		return "ANY"
	}
	return fmt.Sprintf("TYPE%d", t)
}

// ClassIN is the only class that is served.
const ClassIN = 1

// Response codes. The upper eight bits of those beyond 15 travel in the OPT record.
const (
	NoError  = 0
	FormErr  = 1
	ServFail = 2
	NXDomain = 3
	NotImp   = 4
	Refused  = 5
	BadVers  = 16
)

// RcodeName names the codes above as dig does.
func RcodeName(rcode int) string {
	switch rcode {
	case NoError:
		return "NOERROR"
	case FormErr:
		return "FORMERR"
	case ServFail:
		return "SERVFAIL"
	case NXDomain:
		return "NXDOMAIN"
	case NotImp:
		return "NOTIMP"
	case Refused:
		return "REFUSED"
	case BadVers:
		return "BADVERS"
	}
	return "OTHER"
}

// Header flags, in the second 16 bits of a message.
const (
	FlagQR = 1 << 15
	FlagAA = 1 << 10
	FlagTC = 1 << 9
	FlagRD = 1 << 8
	FlagRA = 1 << 7
	FlagAD = 1 << 5
	FlagCD = 1 << 4

	opcodeMask = 15 << 11
)

// Sizes of messages.
const (
	HeaderLen = 12
	// MinUDP is what every client takes (RFC 1035); MaxUDP is what we send at
	// most, so that no reply is fragmented (DNS flag day 2020).
	MinUDP  = 512
	MaxUDP  = 1232
	MaxTCP  = 65535
	maxName = 255
)
