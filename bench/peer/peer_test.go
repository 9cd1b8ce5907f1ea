package peer

import (
	"fmt"
	"net"
	"os"
	"testing"
)

// TestFreePorts: each is another, free for both protocols, and none that the
// kernel gives to clients: a client that asks a server before it listens could get
// the server's own.
func TestFreePorts(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		t.Fatal(err)
	}
	ports, err := FreePorts(50)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ports {
		if p >= first && p <= last {
			t.Errorf("%d is in the range of clients, %d to %d", p, first, last)
		}
		c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", p)) // a second one of the same would fail
		if err != nil {
			t.Error(err)
			continue
		}
		defer c.Close()
	}
}
