package report

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/model"
)

// HostPort is a port of a node that leads to a pod, as the node's kernel has it.
// That is all there is to say of it, so that not every pod of a large cluster has
// to be read.
type HostPort struct {
	Node      string         `json:"node"`
	Address   netip.AddrPort `json:"address"` // unspecified: the node's own addresses
	Protocol  string         `json:"protocol"`
	Namespace string         `json:"namespace"`
	Pod       string         `json:"pod"`
	Backend   netip.AddrPort `json:"backend"`
}

// HostPorts lists those of the pods that match, by pod, node and address.
func HostPorts(nodes []Node, match func(model.Name) bool) []HostPort {
	var out []HostPort
	for i := range nodes {
		for _, e := range nodes[i].Entries {
			owner, isPod := strings.CutPrefix(e.Owner, model.KindPod.String()+" ")
			name := model.ParseName(owner)
			if !isPod || !match(name) || len(e.Internal) == 0 {
				continue
			}
			out = append(out, HostPort{nodes[i].Node, e.Address, e.Protocol, name.Namespace, name.Name, e.Internal[0]})
		}
	}
	slices.SortFunc(out, func(a, b HostPort) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Node, b.Node),
			a.Address.Compare(b.Address), cmp.Compare(a.Protocol, b.Protocol))
	})
	return out
}

// WriteHostPorts writes one line for each, and nothing without any.
func WriteHostPorts(w io.Writer, ports []HostPort) {
	if len(ports) == 0 {
		return
	}
	fmt.Fprintln(w)
	tw := table(w)
	row(tw, "NAMESPACE", "POD", "NODE", "HOST PORT", "BACKEND")
	for _, p := range ports {
		row(tw, p.Namespace, p.Pod, p.Node, addressText(p.Address)+"/"+p.Protocol, p.Backend.String())
	}
	tw.Flush()
}
