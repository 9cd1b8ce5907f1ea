package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/agent"
	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/dns/forward"
	"github.com/fairway-net/fairway/internal/dns/settings"
	"github.com/fairway-net/fairway/internal/source/kube"
)

func runDNS(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("dns")
	dir := fs.String("config", config.DefaultDir, "read the settings from `DIR`")
	kubeDNS := fs.String("kube-dns", "/etc/kube-dns", "read the settings that --config does not have from `DIR`, the mounted ConfigMap kube-dns")
	kubeconfig := fs.String("kubeconfig", "", "use `FILE` instead of the pod's service account")
	listen := fs.String("listen", ":53", "answer on these `ADDRS`, separated by commas, over UDP and TCP")
	health := fs.String("health", ":8181", "serve /livez, /readyz and /metrics on `ADDR`")
	upstream := fs.String("upstream", "", "forward other names to these `SERVERS`, separated by commas, instead of those of --resolv-conf, unless the settings name some")
	var stubs []forward.Stub
	fs.Func("stub", "ask the servers of `DOMAIN=SERVERS` for names in DOMAIN; may be given again", func(s string) (err error) {
		domain, servers, ok := strings.Cut(s, "=")
		if !ok || domain == "" {
			return fmt.Errorf("want DOMAIN=SERVER,…")
		}
		stub := forward.Stub{Domain: domain}
		stub.Servers, err = forward.ParseServers(servers)
		stubs = append(stubs, stub)
		return err
	})
	resolvConf := fs.String("resolv-conf", "/etc/resolv.conf", "take the servers for other names from `FILE`")
	ttl := fs.Uint("ttl", 5, "TTL of cluster names in `SECONDS`, unless the settings say one")
	var manifests []string
	fs.Func("manifests", "serve what `FILE|DIR` says, and the files given as arguments, without an API server", func(s string) error {
		manifests = append(manifests, s)
		return nil
	})
	keeper := fs.String("keeper", "/run/fairway/dns/keeper.sock", "in a pod: let the agent that listens on `SOCKET` have other nodes answer while this process does not")
	lameDuck := fs.Duration("lame-duck", 5*time.Second, "answer on for this `TIME` after being told to end")
	more, err := cli.Parse(env, fs, args, 0, -1)
	if err != nil {
		return err
	}
	if len(more) > 0 && len(manifests) == 0 {
		return cli.Hint(fmt.Errorf("unexpected argument %q", more[0]), "usage: "+env.Usage+"; files go with --manifests")
	}
	cfg, err := config.Load(*dir)
	if err != nil {
		return cli.Hint(err, "correct the ConfigMap fairway-config")
	}
	if *ttl > 3600 {
		return cli.Hint(fmt.Errorf("ttl %d: more than an hour", *ttl), "give --ttl a number of seconds up to 3600")
	}
	o := agent.DNSOptions{Config: cfg, TTL: uint32(*ttl), Health: *health, LameDuck: *lameDuck, Log: cli.Logger(env), Manifests: append(manifests, more...), Stubs: stubs, Node: env.Getenv("NODE_NAME"), Settings: filepath.Join(*dir, settings.Key), KubeDNS: *kubeDNS}
	if o.Listen, err = listenAddrs(*listen); err != nil {
		return cli.Hint(err, "give --listen ADDRESS:PORT or :PORT")
	}
	if o.Upstreams, o.Search, err = upstreamServers(*upstream, *resolvConf); err != nil {
		return cli.Hint(err, "correct the file or give --upstream ADDRESS[:PORT],…")
	}
	// Answers make no garbage, and so collecting it often costs little: lists of
	// a large cluster leave much behind.
	if env.Getenv("GOGC") == "" {
		debug.SetGCPercent(25)
	}
	// Readers wait in system calls. While no processor of the runtime is idle it
	// takes theirs away every 20 µs, to give it back at the next packet.
	o.Sockets = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(o.Sockets + 1)
	if pod := env.Getenv("POD_NAME"); pod != "" {
		o.Keeper, o.Pod = *keeper, env.Getenv("POD_NAMESPACE")+"/"+pod
	}
	if len(o.Manifests) > 0 {
		return agent.RunDNS(ctx, o)
	}
	if o.Rest, err = kube.Connect(*kubeconfig, cfg.APIServer); err != nil {
		return cli.Hint(err, "run it in a pod, or give --kubeconfig")
	}
	return agent.RunDNS(ctx, o)
}

// listenAddrs parses a list of ADDRESS:PORT; without an address it is any, of
// both families.
func listenAddrs(s string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, f := range strings.Split(s, ",") {
		if strings.HasPrefix(f, ":") {
			f = "[::]" + f
		}
		a, err := netip.ParseAddrPort(f)
		if err != nil {
			return nil, fmt.Errorf("listen address %q: want ADDRESS:PORT", f)
		}
		out = append(out, a)
	}
	return out, nil
}

// upstreamServers are those of the flag, else those of resolv.conf, and its
// search domains. A missing file means none.
func upstreamServers(flag, resolvConf string) (servers []forward.Server, search []string, err error) {
	text, err := os.ReadFile(resolvConf)
	if err != nil && !os.IsNotExist(err) {
		return nil, nil, err
	}
	search = forward.ParseSearch(string(text))
	if flag != "" {
		servers, err = forward.ParseServers(flag)
		return servers, search, err
	}
	if servers, err = forward.ParseResolvConf(strings.NewReader(string(text))); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", resolvConf, err)
	}
	return servers, search, nil
}
