package service

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/state"
)

// TestExplain says of every endpoint in testdata/explain/*.txtar what the node
// "here" does with it, and why. What it says must fit the plan.
func TestExplain(t *testing.T) {
	const file = "testdata/explain/verdicts.txtar"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := sections(string(text))
	store := state.New()
	store.Update(func(tx *state.Tx) {
		for doc := range strings.SplitSeq(parts[1].body, "---\n") {
			applyDoc(t, tx, doc)
		}
	})
	seen := map[Verdict]bool{}
	var got strings.Builder
	for _, svc := range store.Snapshot().Services.All() {
		x := Explain(store.Snapshot(), here, svc.Name)
		fmt.Fprintf(&got, "%v %s", svc.Name, x.Type)
		if x.Skipped != "" {
			fmt.Fprintf(&got, " skipped: %s", x.Skipped)
		}
		fmt.Fprintln(&got)
		for _, n := range x.NotTaken {
			fmt.Fprintf(&got, "  not taken: %s: %s\n", n.Address, n.Why)
		}
		for i, p := range x.Ports {
			fmt.Fprintf(&got, "  port %q %v IPv%d\n", x.Plan.Ports[i].Name, x.Plan.Ports[i].Protocol, x.Plan.Ports[i].Family)
			fits(t, &x.Plan.Ports[i], &p)
			for _, e := range p.Endpoints {
				name := e.Addr.String()
				if e.DomainName != "" {
					name = e.DomainName
				}
				fmt.Fprintf(&got, "    %s: Cluster %v, Local %v\n", name, e.Cluster, e.Local)
				seen[e.Cluster], seen[e.Local] = true, true
			}
		}
	}
	for v := range Verdict(NumVerdicts) {
		if !seen[v] {
			t.Errorf("no endpoint is %v", v)
		}
	}
	if *update {
		parts[2].body = got.String()
		rewrite(t, file, parts)
	} else if got.String() != parts[2].body {
		t.Errorf("--- got\n%s--- want\n%s", got.String(), parts[2].body)
	}
	if Explain(store.Snapshot(), here, Key{}.Name) != nil {
		t.Error("explained a Service that is not there")
	}
}

// fits fails if the explanation of a port puts other endpoints in than its plan.
func fits(t *testing.T, p *Port, x *ExplainedPort) {
	t.Helper()
	in := func(by TrafficPolicy) string {
		var set Set
		for _, e := range x.Endpoints {
			if v := [...]Verdict{Cluster: e.Cluster, Local: e.Local}[by]; v.In() {
				set.Backends = append(set.Backends, Backend{e.Addr, e.OnThisNode})
			}
		}
		return fmt.Sprint(set.Backends)
	}
	for i, f := range p.Frontends {
		by := x.Policies[i]
		if got, want := in(by.Internal), fmt.Sprint(p.Sets[f.Internal].Backends); got != want {
			t.Errorf("port %s, %v, clients here: explained %s, planned %s", p.Name, f.Kind, got, want)
		}
		if got, want := in(by.External), fmt.Sprint(p.Sets[f.External].Backends); got != want {
			t.Errorf("port %s, %v, other clients: explained %s, planned %s", p.Name, f.Kind, got, want)
		}
	}
}
