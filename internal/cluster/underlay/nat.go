package underlay

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

const (
	forwardFile  = "/proc/sys/net/ipv4/ip_forward"
	forward6File = "/proc/sys/net/ipv6/conf/all/forwarding"
	bootFile     = "/proc/sys/kernel/random/boot_id"
)

func (m *Machine) table() string { return LinkName(m.Index) }

// Forwards6 reports whether the machine forwards IPv6. It is for its owner to
// switch on: a host that becomes a router no longer listens to router
// advertisements, from which it may have its own default route.
func Forwards6() bool {
	b, err := os.ReadFile(forward6File)
	return err == nil && strings.TrimSpace(string(b)) != "0"
}

// openNAT lets nodes reach what the machine reaches: forwarding, and for each
// family a masquerade in a table of the cluster's own.
func (m *Machine) openNAT() error {
	var script strings.Builder
	for _, a := range m.Addrs {
		fmt.Fprintf(&script, `table %[1]s %[2]s
delete table %[1]s %[2]s
table %[1]s %[2]s {
	chain postrouting {
		type nat hook postrouting priority srcnat
		%[1]s saddr %[3]s oifname != "%[4]s" masquerade
	}
}
`, nftFamily(a.Addr()), m.table(), a.Masked(), LinkName(m.Index))
	}
	if err := nft(script.String()); err != nil {
		return fmt.Errorf("add masquerade: %w", err)
	}
	if !slices.ContainsFunc(m.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
		return nil
	}
	was, err := os.ReadFile(forwardFile)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(was)) == "1" {
		return nil
	}
	// Remember that it was us, for as long as the machine does.
	boot, err := os.ReadFile(bootFile)
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.Mark, boot, 0o600); err != nil {
		return err
	}
	return os.WriteFile(forwardFile, []byte("1"), 0o644)
}

// closeNAT removes the table, and switches forwarding off again if it was us
// who switched it on and no other cluster is there.
func (m *Machine) closeNAT() (kept []string, err error) {
	var script strings.Builder
	for _, a := range m.Addrs {
		fmt.Fprintf(&script, "table %[1]s %[2]s\ndelete table %[1]s %[2]s\n", nftFamily(a.Addr()), m.table())
	}
	if err := nft(script.String()); err != nil {
		return nil, fmt.Errorf("remove masquerade: %w", err)
	}
	mark, err := os.ReadFile(m.Mark)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := os.Remove(m.Mark); err != nil {
		return nil, err
	}
	boot, err := os.ReadFile(bootFile)
	if err != nil || !bytes.Equal(mark, boot) {
		return nil, err // the machine has been started since: not our setting any more
	}
	if other := otherCluster(m.Index); other != "" {
		return []string{"net.ipv4.ip_forward=1, because " + other + " may need it"}, nil
	}
	return nil, os.WriteFile(forwardFile, []byte("0"), 0o644)
}

func nftFamily(a netip.Addr) string {
	if a.Is6() {
		return "ip6"
	}
	return "ip"
}

// otherCluster returns the link of a cluster other than this one, or "".
func otherCluster(index int) string {
	links, _ := netlink.LinkList()
	for _, l := range links {
		name := l.Attrs().Name
		if l.Type() == "veth" && IsLink(name) && name != LinkName(index) {
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
