package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const report = `[{"PreRunStats": {"SpecsThatWillRun": 6}, "SpecReports": [
 {"ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeType": "It", "LeafNodeText": "a [Conformance]", "State": "passed", "NumAttempts": 1, "RunTime": 2000000000},
 {"ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeType": "It", "LeafNodeText": "b", "State": "failed", "NumAttempts": 1, "RunTime": 1000000000, "Failure": {"Message": "no route\nat all"}},
 {"ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeType": "It", "LeafNodeText": "c", "State": "skipped", "NumAttempts": 1, "Failure": {"Message": "needs 3 zones"}},
 {"ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeType": "It", "LeafNodeText": "not asked for", "State": "skipped"},
 {"ContainerHierarchyTexts": ["[sig-network] LoadBalancers"], "LeafNodeType": "It", "LeafNodeText": "should handle load balancer cleanup finalizer for service", "State": "skipped"},
 {"ContainerHierarchyTexts": ["[sig-network] [Feature:PerformanceDNS] [Serial]"], "LeafNodeType": "It", "LeafNodeText": "d", "State": "timedout", "NumAttempts": 1},
 {"ContainerHierarchyTexts": ["[sig-storage] Disks"], "LeafNodeType": "It", "LeafNodeText": "e", "State": "passed", "NumAttempts": 1}
]}]`

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(file, []byte(report), 0o644); err != nil {
		t.Fatal(err)
	}
	got, missing, err := read(file)
	if err != nil {
		t.Fatal(err)
	}
	if missing != 1 {
		t.Errorf("%d specs never began, want 1", missing)
	}
	for name, want := range map[string]result{
		"Services a [Conformance]": {Group: "Services", State: passedState, Seconds: 2},
		"Services b":               {Group: "Services", State: failedState, Seconds: 1, Reason: "no route"},
		"Services c":               {Group: "Services", State: skippedState, Reason: "needs 3 zones"},
		"LoadBalancers should handle load balancer cleanup finalizer for service": {Group: "LoadBalancers", State: skippedState, Reason: leftOut[2].reason},
		"[Feature:PerformanceDNS] [Serial] d":                                     {Group: "PerformanceDNS", State: failedState},
	} {
		want.Name = name
		if got[name] != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("unexpected: %+v", got)
	}
}

func TestMerge(t *testing.T) {
	var all results
	all.merge(results{"a": {State: skippedState, Group: "G"}, "b": {State: passedState, Group: "G"}, "c": {State: failedState, Group: "G"}})
	all.merge(results{"a": {State: passedState, Group: "G"}, "b": {State: skippedState, Group: "G"}, "c": {State: passedState, Group: "G"}})
	if all["a"].State != passedState || all["b"].State != passedState || all["c"].State != failedState {
		t.Errorf("got %+v", all)
	}
	if table := all.markdown(time.Unix(0, 0), time.Minute, 0); !strings.Contains(table, "| G | 2 | 3 | 0 | 0 s |\n") {
		t.Errorf("got\n%s", table)
	}
}
