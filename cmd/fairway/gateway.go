package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/fairway-net/fairway/internal/agent"
	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/proxy"
	"github.com/fairway-net/fairway/internal/source/kube"
)

func runGateway(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("gateway")
	dir := fs.String("config", config.DefaultDir, "read the settings from `DIR`")
	kubeconfig := fs.String("kubeconfig", "", "use `FILE` instead of the pod's service account")
	http := fs.String("http", ":8080", "serve HTTP on `ADDR`")
	https := fs.String("https", ":8443", "serve HTTPS on `ADDR`")
	http3 := fs.Bool("http3", false, "serve HTTP/3, too, on the UDP port of --https")
	preamble := fs.Bool("proxy-protocol", false, "expect a header of the PROXY protocol, version 1 or 2, on every connection")
	tickets := fs.String("tls-ticket-seed", "", "make the keys of TLS session tickets from `FILE`, the same for all gateways, so that sessions outlive one of them")
	health := fs.String("health", ":8081", "serve /livez, /readyz, /metrics and /routes on `ADDR`")
	var manifests []string
	fs.Func("manifests", "serve what `FILE|DIR` says, and the files given as arguments, without an API server", func(s string) error {
		manifests = append(manifests, s)
		return nil
	})
	accessLog := fs.Bool("access-log", false, "write one line of JSON per request to standard output")
	lameDuck := fs.Duration("lame-duck", 5*time.Second, "go on accepting for this `TIME` after being told to end")
	drain := fs.Duration("drain", 20*time.Second, "wait this `TIME` for requests under way after that")
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
	log := cli.Logger(env)
	o := proxy.Options{Listen: map[string]string{"http": *http, "https": *https}, LameDuck: *lameDuck, Drain: *drain, Log: log}
	o.HTTP3, o.ProxyProtocol = *http3, *preamble
	if *tickets != "" {
		if o.TicketSeed, err = os.ReadFile(*tickets); err != nil {
			return cli.Hint(fmt.Errorf("read --tls-ticket-seed: %w", err), "mount a Secret with 32 random octets")
		}
		if len(o.TicketSeed) < 32 {
			return cli.Hint(fmt.Errorf("read --tls-ticket-seed: %s has %d octets", *tickets, len(o.TicketSeed)), "make it with: head -c 32 /dev/urandom")
		}
	}
	if *accessLog {
		o.AccessLog = slog.New(slog.NewJSONHandler(env.Stdout, nil))
	}
	g := agent.GatewayOptions{Namespace: env.Getenv("POD_NAMESPACE"), Proxy: o, Health: *health, Log: log, Manifests: append(manifests, more...)}
	if len(g.Manifests) > 0 {
		if err := agent.RunGateway(ctx, g); err != nil {
			return cli.Hint(err, "the manifests are read again when they change, but must be right at the start")
		}
		return nil
	}
	if g.Rest, err = kube.Connect(*kubeconfig, cfg.APIServer); err != nil {
		return cli.Hint(err, "run it in a pod, or give --kubeconfig")
	}
	return agent.RunGateway(ctx, g)
}
