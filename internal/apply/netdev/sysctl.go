package netdev

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// sysctl is one kernel setting that must have value. If from is given, only
// that value is replaced.
type sysctl struct{ name, value, from string }

// sysctls are the settings of a node with uplink.
func sysctls(uplink string, ipv6 bool) []sysctl {
	list := []sysctl{
		// Pods are reached by forwarding.
		{name: "net/ipv4/ip_forward", value: "1"},
		// The stricter of "all" and the device's own value counts. A reply of a
		// remote backend comes from an address whose route may be another
		// device; spoofing by pods is what the programs on their links stop.
		{name: "net/ipv4/conf/all/rp_filter", value: "0"},
		{name: "net/ipv4/conf/" + uplink + "/rp_filter", value: "0"},
		// A NodePort's packet may leave by the device that it came in by; the
		// client must not be told to take a short cut that only we can take.
		{name: "net/ipv4/conf/all/send_redirects", value: "0"},
		{name: "net/ipv4/conf/" + uplink + "/send_redirects", value: "0"},
	}
	if ipv6 {
		list = append(list,
			// Forwarding makes a node deaf to router advertisements unless this
			// is 2; a node that listens to them may have its default route from one.
			sysctl{name: "net/ipv6/conf/" + uplink + "/accept_ra", value: "2", from: "1"},
			sysctl{name: "net/ipv6/conf/all/forwarding", value: "1"},
		)
	}
	return list
}

// ApplySysctls sets what a node needs for forwarding; root is /proc/sys. A
// value that is right already is not written.
func ApplySysctls(root, uplink string, ipv6 bool) error {
	var errs []error
	for _, s := range sysctls(uplink, ipv6) {
		path := filepath.Join(root, s.name)
		b, err := os.ReadFile(path)
		have := string(bytes.TrimSpace(b))
		if err == nil && have != s.value && (s.from == "" || s.from == have) {
			err = os.WriteFile(path, []byte(s.value), 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set sysctl %s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}
