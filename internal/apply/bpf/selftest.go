package bpf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/service"
)

// SelfTest connects to a Service that exists for the moment only and fails if
// the socket hooks do not see this process: attached to the wrong cgroup, they
// would lose every ClusterIP silently.
func (d *Datapath) SelfTest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for self-test: %w", err)
	}
	defer l.Close()
	// An address of the loopback net: should the hooks not work, the packet
	// stays on this machine and is refused.
	front := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 202, 0, 1}), 1)
	back := l.Addr().(*net.TCPAddr).AddrPort()
	key := service.Key{Kind: model.KindService, Name: model.Name{Name: "fairway-self-test"}}
	plan := service.Plan{Key: key, Ports: []service.Port{{
		Family: model.IPv4, Protocol: model.TCP,
		Frontends: []service.Frontend{{Addr: front.Addr(), Port: front.Port(), Kind: service.ExternalIP}},
		Sets:      []service.Set{{Backends: []service.Backend{{Addr: back, Local: true}}}},
	}}}
	if err := d.ApplyServices(ctx, []service.Plan{plan}); err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", front.String())
	if err == nil {
		conn.Close()
	}
	if cleanup := d.ApplyServices(context.WithoutCancel(ctx), []service.Plan{{Key: key}}); cleanup != nil {
		return cleanup
	}
	if err != nil {
		return fmt.Errorf("connect through the socket hooks at %q: %w", d.o.Cgroup, err)
	}
	return nil
}
