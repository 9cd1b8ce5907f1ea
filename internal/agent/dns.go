package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/dns"
	"github.com/fairway-net/fairway/internal/dns/forward"
	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/settings"
	"github.com/fairway-net/fairway/internal/metric"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/run"
	"github.com/fairway-net/fairway/internal/source/file"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// DNSOptions are what `fairway dns` is started with.
type DNSOptions struct {
	Config    config.Config
	Rest      *rest.Config
	Manifests []string // files and directories to read instead of watching Rest's API server
	Listen    []netip.AddrPort
	Sockets   int              // UDP sockets per address of Listen, each with a thread; 0: one per processor
	Upstreams []forward.Server // for names that are not the cluster's; those that are this server itself are left out
	Stubs     []forward.Stub   // domains that are asked elsewhere
	Search    []string         // search domains of the node
	Node      string           // the node's name: search paths are completed for its pods; "": for all
	TTL       uint32           // of cluster names
	Settings  string           // file of the operator's settings, which count before Upstreams, beside Stubs and before TTL; "": none
	KubeDNS   string           // folder of the ConfigMap kube-dns, which counts where Settings says nothing; "": none
	Health    string           // address of /livez, /readyz and /metrics; "": none
	Keeper    string           // socket of the node's agent, which holds this server's sockets too; "": none
	Pod       string           // namespace/name of this server's pod, which Keeper knows it by
	LameDuck  time.Duration    // how long to answer on after being told to end, while clients learn to go elsewhere
	Log       *slog.Logger
}

// dnsGrace is how long clients that wait for upstream may still get their answer.
const dnsGrace = 2 * time.Second

// firstSync is how long questions wait for the zone, less than clients wait for
// answers; after it names of the zone are SERVFAIL until it is there.
const firstSync = 3 * time.Second

// RunDNS serves the cluster's zone from a watch of its own and forwards the
// rest. When ctx ends it says so on /readyz, answers on for LameDuck, and returns.
func RunDNS(ctx context.Context, o DNSOptions) error {
	files := settingsFiles{own: o.Settings, kubeDNS: o.KubeDNS}
	said, text, err := files.read(o.Config.ClusterDomain)
	wrong := errors.As(err, &mistake{})
	if err != nil && !wrong {
		return err
	}
	problems := newProblems(o.Node, o.Log)
	if wrong {
		// The cluster's names do not depend on it, and a node may have just started.
		settingsRefused(problems, "what is right of them counts, and names whose servers are in doubt are answered by SERVFAIL", err)
	}
	x, err := index.New(index.Params{
		Params:  zone.Params{Zone: o.Config.ClusterDomain, TTL: o.TTL, DNS: addrList(o.Config.DNSIP)},
		Reverse: append(append([]netip.Prefix{}, o.Config.PodCIDRs...), o.Config.ServiceCIDRs...),
	})
	if err != nil {
		return err
	}
	fwd, err := newOutside(o, said, problems)
	if err != nil {
		return err
	}
	fwd.rejected.Store(wrong)
	server, err := dns.New(dns.Options{Zone: x, Upstream: fwd, Listen: o.Listen, Sockets: o.Sockets, Keeper: o.Keeper, Name: o.Pod, Log: o.Log})
	if err != nil {
		return err
	}

	// Everything below outlives ctx by the lame-duck time: answers must stay
	// right for as long as there are any.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var ending atomic.Bool
	context.AfterFunc(ctx, func() {
		ending.Store(true)
		o.Log.Info("ending", "lame_duck", o.LameDuck)
		time.AfterFunc(o.LameDuck, end)
	})
	ready := func() error {
		switch {
		case ending.Load():
			return errors.New("ending")
		case !x.Synced():
			return errors.New("not synced with the API server yet")
		}
		return nil
	}
	if o.Health != "" {
		metrics := endpoint{"GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			server.WriteMetrics(w)
			fwd.WriteMetrics(w)
			problems.write(metric.Writer{Writer: w})
		}}
		if err := serveHealth(life, o.Health, ready, o.Log, metrics); err != nil {
			server.Close()
			return err
		}
	}
	store := state.New()
	if err := startZoneSource(life, o, store); err != nil {
		server.Close()
		return err
	}
	if o.Node != "" && len(o.Manifests) == 0 {
		go func() {
			if err := problems.tell(life, o.Rest); err != nil {
				o.Log.Error("no Events are written", "err", err)
			}
		}()
	}
	go feedZone(life, store, x, o.Log)
	pods := &podFeed{node: o.Node, store: store, x: x, log: o.Log}
	if len(o.Manifests) == 0 {
		pods.rest = o.Rest
	}
	apply := func(s settings.Settings) {
		ttl := o.TTL
		if s.TTL != nil {
			ttl = *s.TTL
		}
		x.SetTTL(ttl)
		x.SetPodMode(s.Pods)
		x.SetSearch(s.Search)
		server.LogQueries(s.Log)
		switch {
		case s.Pods == index.PodsVerified:
			pods.follow(life, allPods)
		case len(s.Search) > 0:
			pods.follow(life, nodePods)
		default:
			pods.follow(life, noPods)
		}
	}
	apply(said)
	if o.Settings != "" || o.KubeDNS != "" {
		go fwd.follow(life, files, o.Config.ClusterDomain, text, apply)
	}
	hold(life, x)
	go fwd.probe(life) // a question that comes around is to find us answering
	o.Log.Info("serving", "listen", o.Listen, "zone", o.Config.ClusterDomain)
	return server.Serve(life, dnsGrace)
}

// hold returns when x is synced, or after firstSync. What is asked meanwhile
// waits in the sockets: after a crash clients come before the zone is there,
// and an answer that is late by a moment is better for them than SERVFAIL.
func hold(ctx context.Context, x *index.Index) {
	ctx, cancel := context.WithTimeout(ctx, firstSync)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); !x.Synced(); {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// startZoneSource lets the API server, or files, write to store.
func startZoneSource(ctx context.Context, o DNSOptions, store *state.Store) error {
	if len(o.Manifests) > 0 {
		src := file.New(file.Options{Paths: o.Manifests, Log: o.Log}, store)
		if err := src.Load(); err != nil {
			return fmt.Errorf("read manifests: %w", err)
		}
		go src.Run(ctx)
		return nil
	}
	go func() {
		// It ends with ctx, or at once because of options that cannot work.
		if err := kube.Run(ctx, kube.Options{
			Rest: o.Rest, Kinds: zone.Kinds(), Log: o.Log, Trim: zone.Trim,
			Labels: map[model.Kind][]string{model.KindEndpointSlice: kube.NamedSlices()},
		}, store); err != nil {
			o.Log.Error("watch ended", "err", err)
		}
	}()
	return nil
}

// feedZone keeps x as store is until ctx ends.
func feedZone(ctx context.Context, store *state.Store, x *index.Index, log *slog.Logger) {
	w := store.Watch(zone.Kinds()...)
	defer w.Close()
	_ = run.Loop(ctx, log, "zone", w, run.Options{Synced: zone.Kinds()}, func(_ context.Context, snap *state.Snapshot, changes state.Changes) error {
		services, namespaces := zone.Keys(changes, snap)
		for _, n := range namespaces {
			x.SetNamespace(n, snap.Namespace(n) != nil)
		}
		for _, s := range services {
			x.Set(zone.Plan(snap, s))
		}
		x.SetSerial(uint32(time.Now().Unix()))
		if !x.Synced() {
			x.SetSynced()
			log.Info("zone complete", "services", snap.Services.Len(), "namespaces", snap.Namespaces.Len())
			// The first lists have left as much behind as there is.
			go debug.FreeOSMemory()
		}
		return nil
	})
}

// withoutSelf drops upstreams that are this server, and returns them: a question sent there
// would come back for ever.
func withoutSelf(o DNSOptions) (upstreams []forward.Server, stubs []forward.Stub, self []forward.Server, err error) {
	ifaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	var local []netip.Addr
	for _, a := range ifaces {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			local = append(local, p.Addr())
		}
	}
	filter := func(servers []forward.Server) []forward.Server {
		for _, listen := range o.Listen {
			var own []forward.Server
			servers, own = forward.Own(servers, listen, addrList(o.Config.DNSIP), local)
			self = append(self, own...)
		}
		return servers
	}
	upstreams = filter(o.Upstreams)
	for _, s := range o.Stubs {
		stubs = append(stubs, forward.Stub{Domain: s.Domain, Servers: filter(s.Servers)})
	}
	if len(upstreams) == 0 {
		o.Log.Warn("no upstream server: names outside the zone are answered by SERVFAIL", "zone", o.Config.ClusterDomain)
	}
	return upstreams, stubs, self, nil
}

func addrList(a netip.Addr) []netip.Addr {
	if !a.IsValid() {
		return nil
	}
	return []netip.Addr{a}
}
