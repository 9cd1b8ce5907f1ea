package bpf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	oracle "github.com/fairway-net/fairway/internal/explain"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/testkit"
)

// sim sends crafted packets through the real programs of a node (BPF_PROG_TEST_RUN),
// which find the node's own routes and maps. Between two programs it does what
// the stack would do.
type sim struct {
	*testNode
	uplink int
}

func newSim(n *testNode) *sim { return &sim{n, n.Uplink.Attrs().Index} }

// place is where a packet is in the end.
type place struct {
	what string // "pod", "node", "wire"; "": dropped
	pod  *testkit.Pod
}

var (
	onNode = place{what: "node"}
	onWire = place{what: "wire"}
)

func inPod(p *testkit.Pod) place { return place{"pod", p} }

// trip is what became of a packet.
type trip struct {
	at      place
	frame   *frame
	drop    Drop // counted on the way
	refused bool // frame is the answer to the packet, at where it came from
}

const (
	verdictPass     = 0
	verdictDrop     = 2
	verdictRedirect = 7
)

// run is one program on one packet.
func (s *sim) run(p *ebpf.Program, data []byte, ifindex, ingress int) (verdict uint32, out []byte, err error) {
	ctx := make([]byte, 192) // struct __sk_buff
	put := func(field, value int) { *(*[4]byte)(ctx[4*field:]) = [4]byte{byte(value), byte(value >> 8)} }
	put(9, ingress)
	put(10, ifindex)
	o := ebpf.RunOptions{Data: data, DataOut: make([]byte, 4096), Context: ctx}
	err = s.Do(func() (err error) { verdict, err = p.Run(&o); return err })
	return verdict, o.DataOut, err
}

// send lets a packet begin at a place and follows it.
func (s *sim) send(from place, data []byte) (trip, error) {
	if err := s.dp.objs.Refusals.Put(uint32(0), make([]uint64, ebpf.MustPossibleCPU())); err != nil { // no limit
		return trip{}, err
	}
	before, err := s.dp.ReadDrops()
	if err != nil {
		return trip{}, err
	}
	t, err := s.start(from, data)
	if err != nil {
		return t, err
	}
	after, err := s.dp.ReadDrops()
	if err != nil {
		return t, err
	}
	for _, a := range after {
		if !slices.Contains(before, a) {
			t.drop = a.Reason
		}
	}
	return t, nil
}

func (s *sim) start(from place, data []byte) (trip, error) {
	switch from.what {
	case "pod":
		verdict, out, err := s.run(s.dp.objs.FromPod, data, from.pod.Index, from.pod.Index)
		switch {
		case err != nil || verdict == verdictDrop:
			return trip{}, err
		case verdict == verdictRedirect:
			return s.arrive(from, data, out)
		}
		return s.route(data, out, from.pod.Index)
	case "wire":
		verdict, out, err := s.run(s.dp.objs.FromNet, data, s.uplink, s.uplink)
		switch {
		case err != nil || verdict == verdictDrop:
			return trip{}, err
		case verdict == verdictRedirect && answers(data, out):
			return s.arrive(from, data, out)
		}
		return s.route(data, out, s.uplink)
	}
	return s.route(data, data, 0)
}

// answers reports whether out goes back to where data came from.
func answers(data, out []byte) bool {
	src, _, _ := headerOf(data[14:])
	_, dst, _ := headerOf(out[14:])
	return src.Addr() == dst.Addr()
}

// route is the stack: data is what was sent, at is how it looks now.
func (s *sim) route(data, at []byte, ingress int) (trip, error) {
	_, dst, _ := headerOf(at[14:])
	for _, p := range s.pods {
		if !slices.Contains(p.IPs, dst.Addr()) {
			continue
		}
		verdict, out, err := s.run(s.dp.objs.ToPod, at, p.Index, ingress)
		if err != nil || verdict == verdictDrop {
			return trip{}, err
		}
		return s.arrive(inPod(p), data, out)
	}
	if slices.Contains(s.Addrs, dst.Addr()) {
		return s.arrive(onNode, data, at)
	}
	verdict, out, err := s.run(s.dp.objs.ToNet, at, s.uplink, ingress)
	switch {
	case err != nil || verdict == verdictDrop:
		return trip{}, err
	case verdict == verdictRedirect && answers(data, out):
		return s.arrive(onNode, data, out)
	case verdict == verdictRedirect:
		_, dst, _ = headerOf(out[14:])
		if slices.ContainsFunc(s.pods, func(p *testkit.Pod) bool { return slices.Contains(p.IPs, dst.Addr()) }) {
			return s.route(data, out, ingress)
		}
	}
	return s.arrive(onWire, data, out)
}

func (s *sim) arrive(at place, data, out []byte) (trip, error) {
	f, err := readFrame(out)
	if err != nil {
		return trip{}, fmt.Errorf("what arrives: %w", err)
	}
	sent, err := readFrame(data)
	if err != nil {
		return trip{}, fmt.Errorf("what was sent: %w", err)
	}
	back := f.src.Addr() == sent.dst.Addr() && f.dst.Addr() == sent.src.Addr()
	refused := back && (f.flags&tcpRST != 0 || f.icmp == [2]byte{3, 3} || f.icmp == [2]byte{1, 4})
	return trip{at: at, frame: f, refused: refused}, nil
}

// origin is where a question's packet begins.
func (s *sim) origin(p oracle.Packet) place {
	switch p.From {
	case oracle.FromNode:
		return onNode
	case oracle.FromPod:
		for _, pod := range s.pods {
			if slices.Contains(pod.IPs, p.Src.Addr()) {
				return inPod(pod)
			}
		}
		return inPod(s.pods[0]) // it lies
	}
	return onWire
}

// opening is the first packet of a flow.
func opening(p oracle.Packet) *frame {
	return &frame{src: p.Src, dst: p.Dst, proto: p.Protocol, flags: tcpSYN, payload: []byte("odd")}
}

// outcome says what became of p as explain does, and checks what explain does not
// say: the answer of a refusal.
func (t trip) outcome(p oracle.Packet) (string, error) {
	if t.refused {
		if t.frame.src.Port() != 0 && (t.frame.src != p.Dst || t.frame.dst != p.Src) {
			return "", fmt.Errorf("the refusal goes from %v to %v", t.frame.src, t.frame.dst)
		}
		if q := t.frame.quoted; q != nil {
			if src, dst, _ := headerOf(q); src != p.Src || dst != p.Dst {
				return "", fmt.Errorf("the refusal quotes a packet from %v to %v", src, dst)
			}
		}
		return oracle.Outcome{Reason: t.drop.String(), Refused: true}.String(p), nil
	}
	if t.at.what == "" {
		return oracle.Outcome{Reason: t.drop.String()}.String(p), nil
	}
	if t.drop != DropNone {
		return "", fmt.Errorf("it arrives, and a drop for %v is counted", t.drop)
	}
	if t.frame.src.Addr() == p.Src.Addr() && t.frame.src.Port() != p.Src.Port() {
		return "", fmt.Errorf("the client's port %d became %d", p.Src.Port(), t.frame.src.Port())
	}
	return oracle.Outcome{Src: t.frame.src, Dst: t.frame.dst}.String(p), nil
}

// check sends p and compares with what the model says, then lets the backend
// answer, and lets routers complain about both directions.
func (s *sim) check(p oracle.Packet, want oracle.Answer) error {
	t, err := s.send(s.origin(p), opening(p).bytes())
	if err != nil {
		return err
	}
	got, err := t.outcome(p)
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Split(want.String(), " | "), got) {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	if t.at.what == "" || t.refused {
		return nil
	}
	if err := s.answer(p, t); err != nil {
		return fmt.Errorf("%s: answer: %w", got, err)
	}
	if err := s.complainBack(p, t); err != nil {
		return fmt.Errorf("%s: about the answer: %w", got, err)
	}
	if err := s.complain(p, t); err != nil {
		return fmt.Errorf("%s: %w", got, err)
	}
	return nil
}

// answer sends what the receiver of t sends back, which must come to p's sender
// from where p went.
func (s *sim) answer(p oracle.Packet, t trip) error {
	f := &frame{src: t.frame.dst, dst: t.frame.src, proto: p.Protocol, flags: tcpSYN | tcpACK, tag: 77, payload: []byte("answer")}
	back, err := s.send(t.at, f.bytes())
	if err != nil {
		return err
	}
	if back.at != s.origin(p) || back.frame.src != p.Dst || back.frame.dst != p.Src || back.drop != DropNone {
		return fmt.Errorf("%+v (drop %v), want %v to %v", back.frame, back.drop, p.Dst, p.Src)
	}
	return nil
}

// complain sends ICMP errors about the packet of t, by the receiver itself and by
// a router where there may be one: they must reach p's sender and speak of what
// it has sent.
func (s *sim) complain(p oracle.Packet, t trip) error {
	return s.errors(t.at, s.origin(p), p.Protocol, t.frame.src, t.frame.dst, p.Src, p.Dst)
}

// complainBack sends them about the answer to t, by p's sender itself and by a
// router on its side: they must reach who has answered.
func (s *sim) complainBack(p oracle.Packet, t trip) error {
	return s.errors(s.origin(p), t.at, p.Protocol, p.Dst, p.Src, t.frame.dst, t.frame.src)
}

// errors sends ICMP errors at from about a packet as it is there. They must
// come to the place to and speak of the packet as it was there.
func (s *sim) errors(from, to place, proto model.Protocol, src, dst, wantSrc, wantDst netip.AddrPort) error {
	kinds := map[string][2]byte{"port unreachable": {3, 3}, "fragmentation needed": {3, 4}, "time exceeded": {11, 0}}
	icmp := protoICMP
	if src.Addr().Is6() {
		kinds = map[string][2]byte{"port unreachable": {1, 4}, "packet too big": {2, 0}, "time exceeded": {3, 0}}
		icmp = protoICMP6
	}
	by := []netip.Addr{dst.Addr()}
	if from.what == "wire" {
		by = append(by, map[bool]netip.Addr{true: netip.MustParseAddr("198.51.100.77"), false: netip.MustParseAddr("2001:db8::77")}[icmp == protoICMP])
	}
	quote := (&frame{src: src, dst: dst, proto: proto, flags: tcpSYN, payload: []byte("odd")}).bytes()[14:]
	if icmp == protoICMP {
		quote = quote[:28] // all that RFC 792 asks for
	}
	for name, kind := range kinds {
		for i, who := range by {
			f := &frame{src: netip.AddrPortFrom(who, 0), dst: netip.AddrPortFrom(src.Addr(), 0), proto: icmp, icmp: kind, quoted: quote}
			back, err := s.send(from, f.bytes())
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if back.at != to || back.frame.icmp != kind || back.drop != DropNone {
				return fmt.Errorf("%s by %v: %+v at %v (drop %v)", name, who, back.frame, back.at.what, back.drop)
			}
			about, of, _ := headerOf(back.frame.quoted)
			if about != wantSrc || of != wantDst || back.frame.dst.Addr() != wantSrc.Addr() {
				return fmt.Errorf("%s by %v speaks of %v to %v, want %v to %v", name, who, about, of, wantSrc, wantDst)
			}
			if i == 0 && back.frame.src.Addr() != wantDst.Addr() {
				return fmt.Errorf("%s by the receiver comes from %v, want %v", name, back.frame.src, wantDst)
			}
		}
	}
	return nil
}

// protocols are what Services may have.
var protocols = []model.Protocol{model.TCP, model.UDP, model.SCTP}
