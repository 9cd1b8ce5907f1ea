package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
	"github.com/fairway-net/fairway/internal/source/file"
	"github.com/fairway-net/fairway/internal/state"
)

var update = flag.Bool("update", false, "rewrite the expected reports in testdata")

func load(t *testing.T) *state.Snapshot {
	t.Helper()
	store := state.New()
	if err := file.New(file.Options{Paths: []string{"testdata/services.yaml"}, Log: slog.New(slog.DiscardHandler)}, store).Load(); err != nil {
		t.Fatal(err)
	}
	return store.Snapshot()
}

// kernel is a node whose kernel does as planned.
func kernel(snap *state.Snapshot, node string) Node {
	n := Node{Node: node}
	for _, svc := range snap.Services.All() {
		plan := service.For(snap, service.Params{Node: node}, service.Key{Kind: model.KindService, Name: svc.Name})
		for _, e := range planned(&plan) {
			n.Entries = append(n.Entries, e)
		}
	}
	return n
}

// entry returns the entry at an address, to be spoilt.
func (n *Node) entry(t *testing.T, address string) *Entry {
	t.Helper()
	for i := range n.Entries {
		if n.Entries[i].Address.String() == address {
			return &n.Entries[i]
		}
	}
	t.Fatalf("no entry at %s", address)
	return nil
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	file = "testdata/" + file
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n--- got\n%s--- want\n%s", file, got, want)
	}
}

func all(model.Name) bool { return true }

func TestList(t *testing.T) {
	snap := load(t)
	nodes := []Node{kernel(snap, "node1"), kernel(snap, "node2"), {Node: "node3", Error: "no agent runs on it"}}
	nodes[1].entry(t, "10.96.0.2:80").Internal = nil
	nodes[0].Entries = append(nodes[0].Entries,
		Entry{Address: netip.MustParseAddrPort("10.96.9.9:80"), Protocol: "TCP"},
		Entry{Address: netip.MustParseAddrPort("10.96.9.8:80"), Protocol: "UDP", Owner: "Service shop/gone"},
		Entry{Address: netip.MustParseAddrPort("0.0.0.0:8088"), Protocol: "TCP", Owner: "Pod shop/hostport", Internal: []netip.AddrPort{netip.MustParseAddrPort("10.1.1.9:8080")}})
	nodes[1].Entries = append(nodes[1].Entries,
		Entry{Address: netip.MustParseAddrPort("192.0.2.2:53"), Protocol: "UDP", Owner: "Pod kube-system/dns", Internal: []netip.AddrPort{netip.MustParseAddrPort("10.1.2.9:1053")}})
	var b bytes.Buffer
	WriteList(&b, Services(snap, "node1", nodes, all))
	WriteHostPorts(&b, HostPorts(nodes, all))
	if some := HostPorts(nodes, func(n model.Name) bool { return n.Namespace == "shop" }); len(some) != 1 {
		t.Errorf("of one namespace: %+v", some)
	}
	WriteStale(&b, Stale(snap, nodes))
	golden(t, "list.txt", b.String())
}

// TestService writes one Service after the other: every reason for which an
// endpoint is out, and every way in which a kernel may differ.
func TestService(t *testing.T) {
	snap := load(t)
	nodes := []Node{kernel(snap, "node1"), kernel(snap, "node2"), {Node: "node3", Error: "no agent runs on it"}}
	n := &nodes[1]
	n.entry(t, "10.96.0.1:80").Internal = []netip.AddrPort{netip.MustParseAddrPort("10.1.9.9:8080")}
	n.entry(t, "0.0.0.0:30080").External = nil
	n.entry(t, "198.51.100.100:80").Owner = "Service shop/first"
	n.entry(t, "198.51.100.100:81").Affinity = 5
	n.entry(t, "10.96.0.1:81").Address = netip.MustParseAddrPort("10.96.0.1:82")
	n.Failed = []Failure{{Owner: "Service shop/states", Message: "the map frontends is full", Fix: "raise its limit"}}
	var b strings.Builder
	for _, s := range Services(snap, "node1", nodes, all) {
		WriteService(&b, &s)
		b.WriteString("---\n")
	}
	golden(t, "services.txt", b.String())
}

func TestJSON(t *testing.T) {
	snap := load(t)
	services := Services(snap, "node2", []Node{kernel(snap, "node2")}, func(n model.Name) bool { return n.Name == "zones" })
	b, err := json.MarshalIndent(services, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "zones.json", string(b)+"\n")
}
