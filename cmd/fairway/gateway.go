package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/agent"
	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy"
	"github.com/fairway-net/fairway/internal/source/kube"
)

// streamFlags adds the flags of ingress-nginx for ports of TCP and UDP.
func streamFlags(fs *flag.FlagSet, to *route.StreamMaps) {
	add := func(protocol string, list *[]model.Name) {
		fs.Func(protocol+"-services-configmap", "open the ports of the ConfigMap `NAMESPACE/NAME` for "+strings.ToUpper(protocol)+
			", whose keys are ports and whose values are namespace/service:port; instead of "+protocol+"-services in Fairway's own namespace and in ingress-nginx", func(s string) error {
			name := model.ParseName(s)
			if name.Namespace == "" || name.Name == "" {
				return errors.New("write namespace/name")
			}
			*list = append(*list, name)
			return nil
		})
	}
	add("tcp", &to.TCP)
	add("udp", &to.UDP)
}

func runGateway(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("gateway")
	dir := fs.String("config", config.DefaultDir, "read the settings from `DIR`")
	kubeconfig := fs.String("kubeconfig", "", "use `FILE` instead of the pod's service account")
	http := fs.String("http", ":8080", "serve HTTP on `ADDR`")
	https := fs.String("https", ":8443", "serve HTTPS on `ADDR`")
	http3 := fs.Bool("http3", false, "serve HTTP/3, too, on the UDP port of --https")
	conns := fs.Int("max-connections", 0, "serve up to `N` connections at a time; 0: what the limit of open files allows")
	preamble := fs.Bool("proxy-protocol", false, "expect a header of the PROXY protocol, version 1 or 2, on every connection")
	tickets := fs.String("tls-ticket-seed", "", "make the keys of TLS session tickets from `FILE`, the same for all gateways, so that sessions outlive one of them")
	health := fs.String("health", ":8081", "serve /livez, /readyz, /metrics and /routes on `ADDR`")
	var streams route.StreamMaps
	streamFlags(fs, &streams)
	var manifests []string
	fs.Func("manifests", "serve what `FILE|DIR` says, and the files given as arguments, without an API server", func(s string) error {
		manifests = append(manifests, s)
		return nil
	})
	accessLog := fs.Bool("access-log", false, "write one line of JSON per request to standard output")
	logText := fs.Bool("access-log-text", false, "write name=value instead of JSON")
	logFields := fs.String("access-log-fields", "", "write only these `FIELDS`, separated by commas")
	logSample := fs.Float64("access-log-sample", 1, "write this `SHARE` of the requests that went well")
	otlp := fs.String("otlp", "", "send traces to the OpenTelemetry collector at `URL`, such as http://collector:4318")
	otlpSample := fs.Float64("otlp-sample", 1, "begin traces for this `SHARE` of the requests that have none")
	lameDuck := fs.Duration("lame-duck", 5*time.Second, "go on accepting for this `TIME` after being told to end")
	drain := fs.Duration("drain", 20*time.Second, "wait this `TIME` for requests under way after that")
	more, err := cli.Parse(env, fs, args, 0, -1)
	if err != nil {
		return err
	}
	if *http3 && *preamble {
		return cli.Hint(errors.New("--http3 and --proxy-protocol exclude each other"), "QUIC has no form of the PROXY protocol; remove one of them")
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
	o.HTTP3, o.ProxyProtocol, o.MaxConns = *http3, *preamble, *conns
	if *otlp != "" {
		if u, err := url.Parse(*otlp); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return cli.Hint(fmt.Errorf("--otlp %q is not a URL", *otlp), "write it as in http://collector:4318")
		}
		o.Tracing = &proxy.Tracing{Endpoint: *otlp, Sample: *otlpSample}
	}
	if *tickets != "" {
		if o.TicketSeed, err = os.ReadFile(*tickets); err != nil {
			return cli.Hint(fmt.Errorf("read --tls-ticket-seed: %w", err), "mount a Secret with 32 random octets")
		}
		if len(o.TicketSeed) < 32 {
			return cli.Hint(fmt.Errorf("read --tls-ticket-seed: %s has %d octets", *tickets, len(o.TicketSeed)), "make it with: head -c 32 /dev/urandom")
		}
	}
	if *accessLog {
		o.AccessLog = &proxy.AccessLog{To: env.Stdout, Text: *logText, Sample: *logSample}
		if *logFields != "" {
			o.AccessLog.Fields = strings.Split(*logFields, ",")
		}
	}
	g := agent.GatewayOptions{Node: env.Getenv("NODE_NAME"), Namespace: env.Getenv("POD_NAMESPACE"), Proxy: o, Health: *health, Log: log, Manifests: append(manifests, more...), Params: route.Params{Streams: streams}}
	if len(g.Manifests) > 0 {
		err := agent.RunGateway(ctx, g)
		if errors.Is(err, agent.ErrManifests) {
			return cli.Hint(err, "the manifests are read again when they change, but must be right at the start")
		}
		return err
	}
	if g.Rest, err = kube.Connect(*kubeconfig, cfg.APIServer); err != nil {
		return cli.Hint(err, "run it in a pod, give --kubeconfig, or serve files with --manifests")
	}
	return agent.RunGateway(ctx, g)
}
