package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairway-net/fairway/internal/dns/forward"
	"github.com/fairway-net/fairway/internal/dns/settings"
	"github.com/fairway-net/fairway/internal/dns/wire"
	"github.com/fairway-net/fairway/internal/metric"
	"github.com/fairway-net/fairway/internal/model"
)

// settingsInterval is how often the file is looked at. Kubelet takes a minute to
// bring a changed ConfigMap anyway.
const settingsInterval = time.Second

// settingsFiles is where the operator's settings are.
type settingsFiles struct {
	own     string // file of fairway-config's key "dns"; "": none
	kubeDNS string // folder of the ConfigMap kube-dns, for which Fairway's own counts first; "": none
}

// read returns the files' text too: it tells whether they changed. No file
// is no settings.
func (f settingsFiles) read(zone string) (s settings.Settings, text string, err error) {
	own, err1 := readIfThere(f.own)
	var stubs, upstreams string
	var err2, err3 error
	if f.kubeDNS != "" {
		stubs, err2 = readIfThere(filepath.Join(f.kubeDNS, settings.KeyStubDomains))
		upstreams, err3 = readIfThere(filepath.Join(f.kubeDNS, settings.KeyUpstreams))
	}
	text = strings.Join([]string{own, stubs, upstreams}, "\x00")
	if err := errors.Join(err1, err2, err3); err != nil {
		return s, text, err
	}
	s, err1 = settings.Parse(own, zone)
	if err1 != nil {
		err1 = fmt.Errorf("config key %s: %w", settings.Key, err1)
	}
	below, err2 := settings.ParseKubeDNS(stubs, upstreams, zone)
	if err2 != nil {
		err2 = fmt.Errorf("ConfigMap kube-dns, %w", err2)
	}
	if err := errors.Join(err1, err2); err != nil {
		return s.Over(below), text, mistake{err}
	}
	return s.Over(below), text, nil
}

func readIfThere(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(b), err
}

// mistake is an error in the text, not in getting at it.
type mistake struct{ error }

// outside is the way to names that are not the cluster's; a change of the
// settings replaces it, and its cache, as a whole.
type outside struct {
	o        DNSOptions
	problems *problems
	current  atomic.Pointer[forward.Forwarder]
	rejected atomic.Bool // the file has a mistake: what was before it counts
}

// newOutside returns the way that s says; an error is a mistake on the command line.
func newOutside(o DNSOptions, s settings.Settings, p *problems) (*outside, error) {
	out := &outside{o: o, problems: p}
	return out, out.apply(s)
}

// Names of problems.
const (
	settingsProblem = "dns-settings"
	selfProblem     = "dns-upstream-self"
	loopProblem     = "dns-loop"
)

// settingsRefused says of a mistake how to mend it. The Event is one for all nodes:
// they read the same ConfigMap.
func settingsRefused(p *problems, meanwhile string, err error) {
	p.set(settingsProblem, false, model.Rejected{
		Ref:    model.Ref{Kind: model.KindConfigMap, Name: model.Name{Namespace: "kube-system", Name: "fairway-config"}},
		Reason: "DNSSettingsRefused", Message: "settings refused, " + meanwhile + ": " + strings.ReplaceAll(err.Error(), "\n", "; "),
		Fix: "correct the key " + settings.Key + " of the ConfigMap fairway-config, or the ConfigMap kube-dns if the error names that; it is read again at once",
	})
}

// realServers is the fix for an upstream that leads back here.
const realServers = "let the node's kubelet use a resolv.conf with real servers (resolvConf: /run/systemd/resolve/resolv.conf), or name others: the statement upstream of the ConfigMap fairway-config, or --upstream"

// tell says of servers that lead back here, or takes that back if there are none.
func (u *outside) tell(problem, reason, what string, servers []forward.Server) {
	if len(servers) == 0 {
		u.problems.clear(problem)
		return
	}
	u.problems.set(problem, false, model.Rejected{Reason: reason, Message: fmt.Sprintf("upstream servers %v are left out: %s", servers, what), Fix: realServers})
}

// apply lets s count before what the command line says.
func (u *outside) apply(s settings.Settings) error {
	o := u.o
	if s.Upstreams != nil {
		o.Upstreams = s.Upstreams
	}
	o.Stubs = append(append([]forward.Stub{}, o.Stubs...), s.Stubs...)
	upstreams, stubs, self, err := withoutSelf(o)
	if err != nil {
		return err
	}
	u.tell(selfProblem, "DNSUpstreamIsSelf", "they are this DNS server itself", self)
	f, err := forward.New(forward.Options{Upstreams: upstreams, Stubs: stubs, Search: o.Search, Log: o.Log})
	if err != nil {
		return err
	}
	u.current.Store(f)
	o.Log.Info("upstream", "servers", upstreams, "stub_domains", len(stubs))
	return nil
}

// follow applies files, by others too, whenever they differ from text, until ctx
// ends. While they have a mistake what was before it counts.
func (u *outside) follow(ctx context.Context, files settingsFiles, zone, text string, others func(settings.Settings)) {
	tick := time.NewTicker(settingsInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s, now, err := files.read(zone)
		if now == text {
			continue
		}
		text = now
		if err == nil {
			err = u.apply(s)
		}
		u.rejected.Store(err != nil)
		if err != nil {
			settingsRefused(u.problems, "the previous ones stay", err)
			continue
		}
		u.problems.clear(settingsProblem)
		others(s)
	}
}

// probe looks for loops until ctx ends: at once, when the settings have
// changed, and now and then.
func (u *outside) probe(ctx context.Context) {
	tick := time.NewTicker(settingsInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		f := u.current.Load()
		next := time.Now().Add(f.ProbeLoops(ctx))
		if ctx.Err() == nil && u.current.Load() == f {
			u.tell(loopProblem, "DNSForwardingLoop", "they ask this DNS server, directly or by way of others; names outside of the cluster are not asked there until that ends", f.Looping())
		}
		for ctx.Err() == nil && time.Now().Before(next) && u.current.Load() == f {
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}
}

func (u *outside) Cached(w *wire.Writer) bool { return u.current.Load().Cached(w) }

func (u *outside) Reply(ctx context.Context, w *wire.Writer) error {
	return u.current.Load().Reply(ctx, w)
}

func (u *outside) Follow(ctx context.Context, w *wire.Writer, target []byte, owner int) error {
	return u.current.Load().Follow(ctx, w, target, owner)
}

func (u *outside) Search(ctx context.Context, w *wire.Writer, meant []byte, ttl uint32) (bool, error) {
	return u.current.Load().Search(ctx, w, meant, ttl)
}

func (u *outside) WriteMetrics(w io.Writer) {
	u.current.Load().WriteMetrics(w)
	valid := 1.0
	if u.rejected.Load() {
		valid = 0
	}
	metric.Writer{Writer: w}.One("fairway_dns_settings_valid", metric.Gauge, "Whether the settings count that the ConfigMap has.", valid)
}
