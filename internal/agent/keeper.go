package agent

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/dns"
	"github.com/fairway-net/fairway/internal/metric"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// keepDNS keeps the sockets of this node's DNS server: from its end until the
// kernel's maps send its clients elsewhere, or it is there again, the servers of
// other nodes answer what comes in them.
func (n *nodeAgent) keepDNS() error {
	if n.o.Keeper == "" {
		return nil
	}
	find := dnsService{ip: n.o.Config.DNSIP}
	k := &dns.Keeper{
		Others: func() []netip.AddrPort { snap := n.store.Snapshot(); return otherDNS(snap, find.in(snap), n.o.Node) },
		Exists: func(name string) bool {
			pod := n.store.Snapshot().Pod(model.ParseName(name))
			return pod != nil && !pod.Done
		},
		Log: n.o.Log,
	}
	l, err := k.Listen(n.o.Keeper)
	if err != nil {
		return err
	}
	n.metrics.keeper.Store(k)
	n.jobs.start("keeper", func(ctx context.Context) error { return k.Serve(ctx, l) })
	return nil
}

// dnsService finds the Service of an address, and remembers its name: it is asked
// for often, and others may be many.
type dnsService struct {
	ip   netip.Addr
	name atomic.Pointer[model.Name]
}

func (d *dnsService) in(snap *state.Snapshot) model.Name {
	has := func(s *model.Service) bool { return s != nil && slices.Contains(s.ClusterIPs, d.ip) }
	if n := d.name.Load(); n != nil && has(snap.Service(*n)) {
		return *n
	}
	for _, s := range snap.Services.All() {
		if has(s) {
			d.name.Store(&s.Name)
			return s.Name
		}
	}
	return model.Name{}
}

// otherDNS are the endpoints of a Service that are ready on other nodes than node.
func otherDNS(snap *state.Snapshot, service model.Name, node string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, slice := range snap.SlicesOf(service) {
		for _, p := range slice.Ports {
			if p.Protocol != model.UDP {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Ready && e.Node != node {
					out = append(out, netip.AddrPortFrom(e.Addr, p.Port))
				}
			}
		}
	}
	return out
}

func writeKeeper(w metric.Writer, k *dns.Keeper) {
	w.One("fairway_dns_relayed_total", metric.Counter, "Questions that DNS servers of other nodes answered in place of this node's.", float64(k.Relayed.Load()))
	w.One("fairway_dns_relay_failures_total", metric.Counter, "Questions that they did not answer.", float64(k.Lost.Load()))
}
