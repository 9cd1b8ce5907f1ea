package bpf

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-net/fairway/internal/testkit"
)

// Errors about a rewritten flow reach its real end and speak of what that end
// knows: here, a port that is closed.
func TestUnreachableReachesClient(t *testing.T) {
	w := newWorld(t)
	here, there := w.node1.pod("here"), w.node2.pod("there") // nobody listens in these
	w.node1.attach(here)
	w.node2.attach(there)
	w.openPods()
	refused := func(what string, from *testkit.NS, addr string) {
		t.Helper()
		c, err := from.Dial(nil, "udp", addr, "")
		w.must(err)
		defer c.Close()
		if _, err := c.AskWithin("x", 5*time.Second); !errors.Is(err, unix.ECONNREFUSED) {
			w.dump()
			t.Errorf("%s: %v, want connection refused", what, err)
		}
	}
	for _, backend := range []*testkit.Pod{here, there} {
		w.set(nodePort("web", "10.96.0.1"), backend.IPs...)
		refused("from the world to "+backend.Name, w.client.NS, "198.51.100.1:30080")
		refused("from the world to "+backend.Name+", IPv6", w.client.NS, "[2001:db8::1]:30080")
		refused("from a pod to "+backend.Name, w.a1.NS, "10.96.0.1:80")
		refused("from a pod to "+backend.Name+", IPv6", w.a1.NS, "[fd00:96::1]:80")
	}
	refused("from a pod to the world", w.a1.NS, "198.51.100.9:9")
	refused("from a pod to the world, IPv6", w.a1.NS, "[2001:db8::9]:9")
}

// A narrow link behind the backend's node: without "fragmentation needed" at
// the client, long requests would hang.
func TestPathMTU(t *testing.T) {
	w := newWorld(t)
	narrow, err := w.node2.Link.LinkByIndex(w.b1.Index)
	w.must(err)
	w.must(w.node2.Link.LinkSetMTU(narrow, 1400))
	w.set(nodePort("web", "10.96.0.1"), w.b1.IPs...)
	for _, c := range []struct {
		from *testkit.NS
		addr string
	}{{w.client.NS, "198.51.100.1:30080"}, {w.client.NS, "[2001:db8::1]:30080"}, {w.a1.NS, "10.96.0.1:80"}, {w.a1.NS, "[fd00:96::1]:80"}} {
		conn, err := c.from.Dial(nil, "tcp", c.addr, "")
		w.must(err)
		if _, err := conn.Ask(strings.Repeat("x", 50000)); err != nil {
			w.dump()
			t.Errorf("%s to %s: %v", c.from.Name, c.addr, err)
		}
		conn.Close()
	}
}

// Datagrams that do not fit into a packet.
func TestFragments(t *testing.T) {
	w := newWorld(t)
	for _, backend := range []*testkit.Pod{w.a2, w.b1} {
		w.set(nodePort("web", "10.96.0.1"), backend.IPs...)
		for _, c := range []struct {
			from *testkit.NS
			addr string
		}{{w.client.NS, "198.51.100.1:30080"}, {w.client.NS, "[2001:db8::1]:30080"}, {w.a1.NS, "10.96.0.1:80"}, {w.a1.NS, "[fd00:96::1]:80"}} {
			conn, err := c.from.Dial(nil, "udp", c.addr, "")
			w.must(err)
			for range 3 {
				if _, err := conn.Ask(strings.Repeat("x", 3000)); err != nil {
					w.dump()
					t.Errorf("%s to %s at %s: %v", c.from.Name, c.addr, backend.Name, err)
				}
			}
			conn.Close()
		}
	}
}

// Ping from a pod to the world, whose id is rewritten like a port, and to a pod.
func TestPing(t *testing.T) {
	w := newWorld(t)
	for _, to := range []string{"198.51.100.9", "2001:db8::9", w.b1.IPs[0].String(), w.b1.IPs[1].String()} {
		if err := w.a1.Ping(to); err != nil {
			w.dump()
			t.Errorf("ping %s: %v", to, err)
		}
	}
}
