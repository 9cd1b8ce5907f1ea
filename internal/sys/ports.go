package sys

import (
	"fmt"
	"os"
)

// EphemeralPorts returns the range out of which the kernel chooses the ports of
// connections that are made in the calling thread's network namespace.
func EphemeralPorts() (lo, hi uint16, err error) {
	const name = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, fmt.Errorf("read ephemeral ports: %w", err)
	}
	if _, err := fmt.Sscan(string(text), &lo, &hi); err != nil {
		return 0, 0, fmt.Errorf("parse %s: %w", name, err)
	}
	return lo, hi, nil
}
