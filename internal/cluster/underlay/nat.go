package underlay

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

const forwardFile = "/proc/sys/net/ipv4/ip_forward"

func (m *Machine) table() string { return LinkName(m.Index) }

// openNAT lets nodes reach what the machine reaches: forwarding, and a
// masquerade in a table of the cluster's own.
func (m *Machine) openNAT() error {
	script := fmt.Sprintf(`table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	chain postrouting {
		type nat hook postrouting priority srcnat
		ip saddr %[2]s oifname != "%[3]s" masquerade
	}
}
`, m.table(), m.Addr.Masked(), LinkName(m.Index))
	if err := nft(script); err != nil {
		return fmt.Errorf("add masquerade: %w", err)
	}
	was, err := os.ReadFile(forwardFile)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(was)) == "1" {
		return nil
	}
	// Remember that it was us, where a reboot forgets it together with the
	// setting itself.
	if err := os.WriteFile(m.forwardMark(), nil, 0o600); err != nil {
		return err
	}
	return os.WriteFile(forwardFile, []byte("1"), 0o644)
}

func (m *Machine) forwardMark() string {
	return fmt.Sprintf("/run/fairway-forward-%d", m.Index)
}

// closeNAT removes the table, and switches forwarding off again if it was us
// who switched it on and nobody else needs it.
func (m *Machine) closeNAT() (kept []string, err error) {
	script := fmt.Sprintf("table ip %[1]s\ndelete table ip %[1]s\n", m.table())
	if err := nft(script); err != nil {
		return nil, fmt.Errorf("remove masquerade: %w", err)
	}
	if _, err := os.Stat(m.forwardMark()); err != nil {
		return nil, nil
	}
	if err := os.Remove(m.forwardMark()); err != nil {
		return nil, err
	}
	if other := otherCluster(m.Index); other != "" {
		marks, _ := filepath.Glob("/run/fairway-forward-*")
		if len(marks) == 0 { // hand the duty over
			if err := os.WriteFile("/run/fairway-forward-"+strings.TrimPrefix(other, "fairway"), nil, 0o600); err != nil {
				return nil, err
			}
		}
		return []string{"net.ipv4.ip_forward=1, because " + other + " may need it"}, nil
	}
	return nil, os.WriteFile(forwardFile, []byte("0"), 0o644)
}

// otherCluster returns the link of a cluster other than this one, or "".
func otherCluster(index int) string {
	links, _ := netlink.LinkList()
	for _, l := range links {
		name := l.Attrs().Name
		if l.Type() == "veth" && strings.HasPrefix(name, "fairway") && name != LinkName(index) {
			return name
		}
	}
	return ""
}

func nft(script string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
