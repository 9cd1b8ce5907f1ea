package bpf

import (
	"log/slog"
	"net/netip"
	"os"
	"testing"

	oracle "github.com/fairway-net/fairway/internal/explain"
	"github.com/fairway-net/fairway/internal/source/file"
	"github.com/fairway-net/fairway/internal/state"
)

var serviceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")}

// program puts the facts into the kernel.
func (n *testNode) program(f oracle.Facts) {
	n.w.Helper()
	n.w.must(n.dp.ApplyPolicy(n.w.Context(), f.Policy))
	n.w.must(n.dp.ApplyServices(n.w.Context(), f.Services))
}

// The questions of internal/explain, put to the kernel's programs: each often
// enough that every backend is met, which is checked.
func TestQuestions(t *testing.T) {
	w := newWorld(t)
	store := state.New()
	const dir = "../../explain/testdata/"
	w.must(file.New(file.Options{Paths: []string{dir + "world.yaml"}, Log: slog.New(slog.DiscardHandler)}, store).Load())
	text, err := os.ReadFile(dir + "questions.txt")
	w.must(err)
	questions, err := oracle.ParseQuestions(string(text))
	w.must(err)
	facts := oracle.Gather(store.Snapshot(), "node1", nil, serviceCIDRs)
	w.node1.program(facts)
	twin := oracle.New(facts)
	s := newSim(w.node1)
	port := uint16(10000)
	for _, q := range questions {
		for range 12 {
			port++
			p := q.Packet
			p.Src = netip.AddrPortFrom(p.Src.Addr(), port)
			if err := s.check(p, twin.Ask(p)); err != nil {
				t.Errorf("%s\n%v", q.Text, err)
				break
			}
		}
	}
}
