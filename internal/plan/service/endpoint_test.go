package service

import (
	"net/netip"
	"testing"
)

// ep makes an endpoint out of letters: r ready, s serving, t terminating, l local.
func ep(n byte, what string, hints ...string) endpoint {
	e := endpoint{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80)}
	for _, c := range what {
		switch c {
		case 'r':
			e.ready, e.serving = true, true
		case 's':
			e.serving = true
		case 't':
			e.terminating = true
		case 'l':
			e.local = true
		}
	}
	for _, h := range hints {
		if h[0] == 'z' {
			e.zoneHints = append(e.zoneHints, h)
		} else {
			e.nodeHints = append(e.nodeHints, h)
		}
	}
	return e
}

func TestSets(t *testing.T) {
	self := node{name: "here", zone: "z1"}
	for _, c := range []struct {
		name           string
		eps            []endpoint
		cluster, local string
	}{
		{"none", nil, "refuse", "refuse"},
		{"ready anywhere", []endpoint{ep(1, "r"), ep(2, "rl")}, "10.0.0.1:80 10.0.0.2:80*", "10.0.0.2:80*"},
		{"not ready", []endpoint{ep(1, ""), ep(2, "l")}, "refuse", "refuse"},
		{"elsewhere only", []endpoint{ep(1, "r")}, "10.0.0.1:80", "drop"},
		{"draining is not chosen beside ready", []endpoint{ep(1, "r"), ep(2, "st")}, "10.0.0.1:80", "drop"},
		{"draining only", []endpoint{ep(1, "st"), ep(2, "stl"), ep(3, "t")}, "10.0.0.1:80 10.0.0.2:80*", "10.0.0.2:80*"},
		{"draining here, ready elsewhere", []endpoint{ep(1, "r"), ep(2, "stl")}, "10.0.0.1:80", "10.0.0.2:80*"},
		{"ready and terminating: publishNotReadyAddresses", []endpoint{ep(1, "rtl")}, "10.0.0.1:80*", "10.0.0.1:80*"},
		{"zone hints", []endpoint{ep(1, "r", "z1"), ep(2, "rl", "z2")}, "10.0.0.1:80", "10.0.0.2:80*"},
		{"a zone hint is missing", []endpoint{ep(1, "r", "z1"), ep(2, "r")}, "10.0.0.1:80 10.0.0.2:80", "drop"},
		{"no zone hint for here", []endpoint{ep(1, "r", "z2")}, "10.0.0.1:80", "drop"},
		{"hints of the unready do not count", []endpoint{ep(1, "r", "z1"), ep(2, "")}, "10.0.0.1:80", "drop"},
		{"node hints before zone hints", []endpoint{ep(1, "r", "z1", "there"), ep(2, "r", "z2", "here")}, "10.0.0.2:80", "drop"},
		{"no node hint for here: zones", []endpoint{ep(1, "r", "z1", "there"), ep(2, "r", "z2", "there")}, "10.0.0.1:80", "drop"},
	} {
		if got := clusterSet(c.eps, self).String(); got != c.cluster {
			t.Errorf("%s: Cluster: %s, want %s", c.name, got, c.cluster)
		}
		if got := localSet(c.eps).String(); got != c.local {
			t.Errorf("%s: Local: %s, want %s", c.name, got, c.local)
		}
	}
}
