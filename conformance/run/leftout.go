package main

import (
	"regexp"
	"syscall"
)

// leftOut are the specs that cannot be run here, with the reason; everything
// else runs. A spec that skips itself when it has seen the cluster brings its
// own reason and is not in this list.
var leftOut = []struct {
	match  string // over the spec's whole name
	reason string
	unless func() bool // where this holds the spec is run after all
}{
	{`Feature:SCTPConnectivity`, "the kernel has no SCTP sockets (CONFIG_IP_SCTP)", hasSCTP},
	{`should be able to switch session affinity for LoadBalancer service with Local traffic policy`,
		"needs a cloud's balancer, which spreads clients over the nodes: by ARP and NDP all come to one, where policy Local has one endpoint to choose from", nil},
	{`should handle load balancer cleanup finalizer for service`,
		"needs a cloud: the finalizer belongs to who must delete a cloud's balancer, and Fairway keeps nothing outside the cluster", nil},
	{`KubeProxy should set TCP CLOSE_WAIT timeout`,
		"looks for an entry of nf_conntrack, which Fairway does not use; what it is about, that a half-closed connection is kept for an hour, TestExpired asks of Fairway's own table", nil},
}

// hasSCTP asks the kernel.
func hasSCTP() bool {
	const ipprotoSCTP = 132
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, ipprotoSCTP)
	if err != nil {
		return false
	}
	syscall.Close(fd)
	return true
}

// skips returns the expressions of what is left out on this machine.
func skips() []string {
	var out []string
	for _, l := range leftOut {
		if l.unless == nil || !l.unless() {
			out = append(out, l.match)
		}
	}
	return out
}

// reasonFor returns why a spec was left out, "" if it was not.
func reasonFor(name string) string {
	for _, l := range leftOut {
		if (l.unless == nil || !l.unless()) && regexp.MustCompile(l.match).MatchString(name) {
			return l.reason
		}
	}
	return ""
}
