package explain

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
)

// ParsePacket reads "ORIGIN PROTOCOL SOURCE > DESTINATION", such as
// "pod TCP 10.1.1.2:40000 > 10.96.0.1:80". The origins are pod, node and net.
func ParsePacket(s string) (Packet, error) {
	var p Packet
	f := strings.Fields(s)
	if len(f) != 5 || f[3] != ">" {
		return p, fmt.Errorf("parse packet %q: want ORIGIN PROTOCOL SOURCE > DESTINATION", s)
	}
	var ok bool
	if p.From, ok = map[string]Origin{"net": FromNet, "pod": FromPod, "node": FromNode}[f[0]]; !ok {
		return p, fmt.Errorf("parse packet %q: the origin is %q, want pod, node or net", s, f[0])
	}
	if p.Protocol, ok = model.ParseProtocol(f[1]); !ok {
		return p, fmt.Errorf("parse packet %q: the protocol is %q, want TCP, UDP or SCTP", s, f[1])
	}
	var err error
	if p.Src, err = netip.ParseAddrPort(f[2]); err != nil {
		return p, fmt.Errorf("parse packet %q: source: %w", s, err)
	}
	if p.Dst, err = netip.ParseAddrPort(f[4]); err != nil {
		return p, fmt.Errorf("parse packet %q: destination: %w", s, err)
	}
	return p, nil
}

// Question is a packet and what is to become of it, as Answer.String says it.
type Question struct {
	Packet
	Text string
	Want string
}

// ParseQuestions reads one question a line, "PACKET : WANT". Lines that are empty
// or begin with # are comments.
func ParseQuestions(text string) ([]Question, error) {
	var out []Question
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		packet, want, ok := strings.Cut(line, " : ")
		if !ok {
			return nil, fmt.Errorf("parse question %q: want PACKET : WANT", line)
		}
		p, err := ParsePacket(packet)
		if err != nil {
			return nil, err
		}
		out = append(out, Question{p, strings.TrimSpace(packet), strings.TrimSpace(want)})
	}
	return out, nil
}
