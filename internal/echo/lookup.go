package echo

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Lookup asks the name servers of resolv.conf for a name, the way a C library
// does: the search list is tried in its order unless the name has ndots dots.
// Unlike a C library it prints what was asked and what came back, because the
// name that answered is half of what one wants to know.
type Lookup struct {
	Name    string // an address is turned into its PTR name
	Type    string // A, AAAA, SRV, PTR, CNAME, TXT, NS, MX, SOA; "" means A, or PTR of an address
	Conf    string // path of resolv.conf
	Timeout time.Duration
}

var lookupTypes = map[string]dnsmessage.Type{
	"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "SRV": dnsmessage.TypeSRV, "PTR": dnsmessage.TypePTR,
	"CNAME": dnsmessage.TypeCNAME, "TXT": dnsmessage.TypeTXT, "NS": dnsmessage.TypeNS, "MX": dnsmessage.TypeMX,
	"SOA": dnsmessage.TypeSOA,
}

// Run prints the records of the first name of the search list that exists.
// The error is the answer's code ("NXDOMAIN") or "no such records".
func (l Lookup) Run(ctx context.Context, w io.Writer) error {
	name, typ := l.Name, strings.ToUpper(l.Type)
	if addr, err := netip.ParseAddr(name); err == nil {
		name = reverseName(addr)
		if typ == "" {
			typ = "PTR"
		}
	}
	if typ == "" {
		typ = "A"
	}
	qtype, ok := lookupTypes[typ]
	if !ok {
		return fmt.Errorf("unknown record type %q", l.Type)
	}
	conf, err := readResolvConf(l.Conf)
	if err != nil {
		return err
	}
	last := error(nil)
	exists := error(nil) // a name that exists without such records ends no search, but beats NXDOMAIN
	for _, candidate := range conf.candidates(name) {
		records, err := l.ask(ctx, conf.servers, candidate, qtype)
		if err == nil {
			for _, r := range records {
				fmt.Fprintln(w, formatRecord(r))
			}
			return nil
		}
		last = err
		if errors.Is(err, errNoData) && exists == nil {
			exists = err
		}
	}
	if exists != nil {
		return exists
	}
	return last
}

var errNoData = errors.New("no such records")

// ask tries each server in turn until one answers at all.
func (l Lookup) ask(ctx context.Context, servers []string, name string, qtype dnsmessage.Type) ([]dnsmessage.Resource, error) {
	qname, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	last := errors.New("no nameserver in resolv.conf")
	for _, server := range servers {
		msg, err := l.exchange(ctx, net.JoinHostPort(server, "53"), dnsmessage.Question{Name: qname, Type: qtype, Class: dnsmessage.ClassINET})
		if err != nil {
			last = fmt.Errorf("%s: server %s: %s", name, server, reason(err))
			continue
		}
		switch {
		case msg.RCode == dnsmessage.RCodeNameError:
			return nil, fmt.Errorf("%s: NXDOMAIN", name)
		case msg.RCode != dnsmessage.RCodeSuccess:
			last = fmt.Errorf("%s: server %s answers %s", name, server, strings.TrimPrefix(msg.RCode.String(), "RCode"))
			continue
		case len(msg.Answers) == 0:
			return nil, fmt.Errorf("%s: %w", name, errNoData)
		}
		return msg.Answers, nil
	}
	return nil, last
}

// exchange asks over UDP, and over TCP if the answer was truncated.
func (l Lookup) exchange(ctx context.Context, server string, q dnsmessage.Question) (*dnsmessage.Message, error) {
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{q},
	}
	packed, err := query.Pack()
	if err != nil {
		return nil, err
	}
	for _, network := range []string{"udp", "tcp"} {
		reply, err := l.roundTrip(ctx, network, server, packed)
		if err != nil {
			return nil, err
		}
		var msg dnsmessage.Message
		if err := msg.Unpack(reply); err != nil {
			return nil, fmt.Errorf("bad answer: %w", err)
		}
		if msg.ID != query.ID || !msg.Response {
			return nil, errors.New("bad answer: not to our question")
		}
		if !msg.Truncated {
			return &msg, nil
		}
	}
	return nil, errors.New("bad answer: truncated over TCP")
}

func (l Lookup) roundTrip(ctx context.Context, network, server string, query []byte) ([]byte, error) {
	conn, err := (&net.Dialer{Timeout: l.Timeout}).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(l.Timeout)); err != nil {
		return nil, err
	}
	if network == "udp" {
		if _, err := conn.Write(query); err != nil {
			return nil, err
		}
		buf := make([]byte, 64<<10)
		n, err := conn.Read(buf)
		return buf[:n], err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err = io.ReadFull(conn, buf)
	return buf, err
}

// resolvConf is what Lookup uses of resolv.conf(5).
type resolvConf struct {
	servers []string
	search  []string
	ndots   int
}

func readResolvConf(path string) (resolvConf, error) {
	f, err := os.Open(path)
	if err != nil {
		return resolvConf{}, fmt.Errorf("read resolver configuration: %w", err)
	}
	defer f.Close()
	conf := resolvConf{ndots: 1}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			conf.servers = append(conf.servers, fields[1])
		case "search":
			conf.search = fields[1:]
		case "options":
			for _, option := range fields[1:] {
				if v, ok := strings.CutPrefix(option, "ndots:"); ok {
					if n, err := strconv.Atoi(v); err == nil {
						conf.ndots = n
					}
				}
			}
		}
	}
	return conf, nil
}

// candidates returns the absolute names to try, in order.
func (c resolvConf) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var out []string
	for _, domain := range c.search {
		out = append(out, name+"."+strings.Trim(domain, ".")+".")
	}
	asIs := name + "."
	if strings.Count(name, ".") >= c.ndots {
		return append([]string{asIs}, out...)
	}
	return append(out, asIs)
}

// reverseName returns the name under in-addr.arpa or ip6.arpa.
func reverseName(addr netip.Addr) string {
	addr = addr.Unmap()
	var b strings.Builder
	bytes := addr.AsSlice()
	for i := len(bytes) - 1; i >= 0; i-- {
		if addr.Is4() {
			fmt.Fprintf(&b, "%d.", bytes[i])
		} else {
			fmt.Fprintf(&b, "%x.%x.", bytes[i]&0xF, bytes[i]>>4)
		}
	}
	if addr.Is4() {
		return b.String() + "in-addr.arpa."
	}
	return b.String() + "ip6.arpa."
}

// formatRecord prints a record as dig does, fields separated by one space.
func formatRecord(r dnsmessage.Resource) string {
	typ := strings.TrimPrefix(r.Header.Type.String(), "Type")
	return fmt.Sprintf("%s %d IN %s %s", r.Header.Name, r.Header.TTL, typ, formatData(r.Body))
}

func formatData(body dnsmessage.ResourceBody) string {
	switch b := body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(b.AAAA).String()
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", b.Priority, b.Weight, b.Port, b.Target)
	case *dnsmessage.PTRResource:
		return b.PTR.String()
	case *dnsmessage.CNAMEResource:
		return b.CNAME.String()
	case *dnsmessage.NSResource:
		return b.NS.String()
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", b.Pref, b.MX)
	case *dnsmessage.TXTResource:
		return strconv.Quote(strings.Join(b.TXT, ""))
	case *dnsmessage.SOAResource:
		return fmt.Sprintf("%s %s %d %d %d %d %d", b.NS, b.MBox, b.Serial, b.Refresh, b.Retry, b.Expire, b.MinTTL)
	}
	return body.GoString()
}
