package explain

import (
	"log/slog"
	"net/netip"
	"os"
	"testing"

	"github.com/fairway-net/fairway/internal/source/file"
	"github.com/fairway-net/fairway/internal/state"
)

var serviceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")}

// The same questions are put to the kernel's programs in internal/apply/bpf.
func TestQuestions(t *testing.T) {
	store := state.New()
	if err := file.New(file.Options{Paths: []string{"testdata/world.yaml"}, Log: slog.New(slog.DiscardHandler)}, store).Load(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/questions.txt")
	if err != nil {
		t.Fatal(err)
	}
	questions, err := ParseQuestions(string(text))
	if err != nil || len(questions) < 40 {
		t.Fatalf("%d questions, %v", len(questions), err)
	}
	node := New(Gather(store.Snapshot(), "node1", nil, serviceCIDRs))
	for _, q := range questions {
		if got := node.Ask(q.Packet).String(); got != q.Want {
			t.Errorf("%s\n got %s\nwant %s", q.Text, got, q.Want)
		}
	}
}

func TestParseMistakes(t *testing.T) {
	for _, s := range []string{
		"", "pod TCP 10.0.0.1:1", "tree TCP 10.0.0.1:1 > 10.0.0.2:2", "pod XTP 10.0.0.1:1 > 10.0.0.2:2",
		"pod TCP 10.0.0.1 > 10.0.0.2:2", "pod TCP 10.0.0.1:1 > 10.0.0.2:99999",
	} {
		if p, err := ParsePacket(s); err == nil {
			t.Errorf("%q: %+v, want an error", s, p)
		}
	}
	if q, err := ParseQuestions("pod TCP 10.0.0.1:1 > 10.0.0.2:2"); err == nil {
		t.Errorf("a question without an answer: %v", q)
	}
}
