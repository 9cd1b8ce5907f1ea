package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
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

// gatewayFlags are the flags of fairway gateway.
type gatewayFlags struct {
	dir, kubeconfig              string
	http, https, health, tickets string
	http3, preamble              bool
	conns                        int
	streams                      route.StreamMaps
	manifests                    []string
	accessLog, logText           bool
	logFields                    string
	logSample                    float64
	otlp                         string
	otlpSample                   float64
	lameDuck, drain              time.Duration
}

func (g *gatewayFlags) register(fs *flag.FlagSet) {
	fs.StringVar(&g.dir, "config", config.DefaultDir, "read the settings from `DIR`")
	fs.StringVar(&g.kubeconfig, "kubeconfig", "", "use `FILE` instead of the pod's service account")
	fs.StringVar(&g.http, "http", ":8080", "serve HTTP on `ADDR`")
	fs.StringVar(&g.https, "https", ":8443", "serve HTTPS on `ADDR`")
	fs.BoolVar(&g.http3, "http3", false, "serve HTTP/3, too, on the UDP port of --https")
	fs.IntVar(&g.conns, "max-connections", 0, "serve up to `N` connections at a time; 0: what the limit of open files allows")
	fs.BoolVar(&g.preamble, "proxy-protocol", false, "expect a header of the PROXY protocol, version 1 or 2, on every connection")
	fs.StringVar(&g.tickets, "tls-ticket-seed", "", "make the keys of TLS session tickets from `FILE`, the same for all gateways, so that sessions outlive one of them")
	fs.StringVar(&g.health, "health", ":8081", "serve /livez, /readyz, /metrics and /routes on `ADDR`")
	streamFlags(fs, &g.streams)
	fs.Func("manifests", "serve what `FILE|DIR` says, and the files given as arguments, without an API server", func(s string) error {
		g.manifests = append(g.manifests, s)
		return nil
	})
	fs.BoolVar(&g.accessLog, "access-log", false, "write one line of JSON per request to standard output")
	fs.BoolVar(&g.logText, "access-log-text", false, "write name=value instead of JSON")
	fs.StringVar(&g.logFields, "access-log-fields", "", "write only these `FIELDS`, separated by commas")
	fs.Float64Var(&g.logSample, "access-log-sample", 1, "write this `SHARE` of the requests that went well")
	fs.StringVar(&g.otlp, "otlp", "", "send traces to the OpenTelemetry collector at `URL`, such as http://collector:4318")
	fs.Float64Var(&g.otlpSample, "otlp-sample", 1, "begin traces for this `SHARE` of the requests that have none")
	fs.DurationVar(&g.lameDuck, "lame-duck", 5*time.Second, "go on accepting for this `TIME` after being told to end")
	fs.DurationVar(&g.drain, "drain", 20*time.Second, "wait this `TIME` for requests under way after that")
}

// options turns the flags that concern the proxy into its options.
func (g *gatewayFlags) options(env *cli.Env, log *slog.Logger) (o proxy.Options, err error) {
	o = proxy.Options{Listen: map[string]string{"http": g.http, "https": g.https}, LameDuck: g.lameDuck, Drain: g.drain, Log: log,
		HTTP3: g.http3, ProxyProtocol: g.preamble, MaxConns: g.conns}
	if g.http3 && g.preamble {
		return o, cli.Hint(errors.New("--http3 and --proxy-protocol exclude each other"), "QUIC has no form of the PROXY protocol; remove one of them")
	}
	if g.otlp != "" {
		if u, err := url.Parse(g.otlp); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return o, cli.Hint(fmt.Errorf("--otlp %q is not a URL", g.otlp), "write it as in http://collector:4318")
		}
		o.Tracing = &proxy.Tracing{Endpoint: g.otlp, Sample: g.otlpSample}
	}
	if g.accessLog {
		o.AccessLog = &proxy.AccessLog{To: env.Stdout, Text: g.logText, Sample: g.logSample}
		if g.logFields != "" {
			o.AccessLog.Fields = strings.Split(g.logFields, ",")
		}
	}
	if g.tickets == "" {
		return o, nil
	}
	if o.TicketSeed, err = os.ReadFile(g.tickets); err != nil {
		return o, cli.Hint(fmt.Errorf("read --tls-ticket-seed: %w", err), "mount a Secret with 32 random octets")
	}
	if len(o.TicketSeed) < 32 {
		return o, cli.Hint(fmt.Errorf("read --tls-ticket-seed: %s has %d octets", g.tickets, len(o.TicketSeed)), "make it with: head -c 32 /dev/urandom")
	}
	return o, nil
}

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
	var flags gatewayFlags
	flags.register(fs)
	more, err := cli.Parse(env, fs, args, 0, -1)
	if err != nil {
		return err
	}
	if len(more) > 0 && len(flags.manifests) == 0 {
		return cli.Hint(fmt.Errorf("unexpected argument %q", more[0]), "usage: "+env.Usage+"; files go with --manifests")
	}
	cfg, err := config.Load(flags.dir)
	if err != nil {
		return cli.Hint(err, "correct the ConfigMap fairway-config")
	}
	log := cli.Logger(env)
	options, err := flags.options(env, log)
	if err != nil {
		return err
	}
	g := agent.GatewayOptions{Node: env.Getenv("NODE_NAME"), Namespace: env.Getenv("POD_NAMESPACE"), Proxy: options, Health: flags.health, Log: log,
		Manifests: append(flags.manifests, more...), Params: route.Params{Streams: flags.streams}}
	if len(g.Manifests) > 0 {
		err := agent.RunGateway(ctx, g)
		if errors.Is(err, agent.ErrManifests) {
			return cli.Hint(err, "the manifests are read again when they change, but must be right at the start")
		}
		return err
	}
	if g.Rest, err = kube.Connect(flags.kubeconfig, cfg.APIServer); err != nil {
		return cli.Hint(err, "run it in a pod, give --kubeconfig, or serve files with --manifests")
	}
	return agent.RunGateway(ctx, g)
}
