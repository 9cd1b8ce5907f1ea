// Command echo is the program of the image fairway.dev/echo: a server that
// says who it is and what it saw, and a client for use inside pods.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/echo"
)

const help = `echo says who it is and what it saw.

Server:
  echo [PORT...]              serve HTTP and UDP on $PORT (default 8080) and on every PORT;
                              UDP on $UDP_PORT instead, if that is set
                              HTTPS on $TLS_PORT, if that is set, with tls.crt and tls.key of $TLS_DIR
                              FastCGI on $FCGI_PORT, if that is set
                              READY=false: start not ready; DRAIN: how long to serve after SIGTERM (1s)
                              DELAY: how late to answer (0s)
Client:
  echo get [flags] URL        ask, print the answer; -n COUNT: ask often, print who answered
  echo dial [-u] HOST:PORT    connect (-u: send a datagram and print the answer)
  echo lookup NAME [TYPE]     ask the name server of /etc/resolv.conf
  echo ask NAME               ask it for the A record of NAME, often, each question once
  echo sleep                  do nothing, to be there for kubectl exec

URL and HOST may hold variables of the pod's environment, such as '$MY_APP_SERVICE_HOST'.
A client ends with 1 and the reason if it gets no good answer.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, cli.OSEnv(), os.Args[1:]))
}

// run returns the exit code: 0, 1 for a client without a good answer, 2 for a
// usage error or a server that cannot serve.
func run(ctx context.Context, env *cli.Env, args []string) int {
	verb := "serve"
	if len(args) > 0 {
		if _, err := strconv.Atoi(args[0]); err != nil {
			verb, args = args[0], args[1:]
		}
	}
	var err error
	failed := 1
	switch verb {
	case "serve":
		failed = 2
		err = serve(ctx, env, args)
	case "get":
		err = get(ctx, env, args)
	case "dial":
		err = dial(ctx, env, args)
	case "lookup":
		err = lookup(ctx, env, args)
	case "ask":
		err = ask(ctx, env, args)
	case "sleep":
		<-ctx.Done()
	case "help", "-h", "--help":
		fmt.Fprint(env.Stdout, help)
	default:
		failed = 2
		err = fmt.Errorf("unknown command %q; see echo help", verb)
	}
	switch {
	case err == nil, errors.Is(err, cli.ErrHelp):
		return 0
	case errors.Is(err, echo.ErrFailed): // the tally says why
		return 1
	}
	fmt.Fprintln(env.Stderr, "echo:", err)
	if hint := cli.HintOf(err); hint != "" {
		fmt.Fprintln(env.Stderr, "echo:", hint)
		return 2
	}
	return failed
}

func serve(ctx context.Context, env *cli.Env, args []string) error {
	cfg := echo.Config{
		Identity: echo.Identity{Pod: env.Getenv("POD_NAME"), PodIP: env.Getenv("POD_IP"), Node: env.Getenv("NODE_NAME")},
		Ports:    append([]string{cmp.Or(env.Getenv("PORT"), "8080")}, args...),
		Drain:    time.Second,
		Log:      slog.New(slog.NewTextHandler(env.Stderr, nil)),
	}
	if cfg.Identity.Pod == "" {
		cfg.Identity.Pod, _ = os.Hostname()
	}
	cfg.UDPPorts = cfg.Ports
	if port := env.Getenv("UDP_PORT"); port != "" {
		cfg.UDPPorts = []string{port}
	}
	if port := env.Getenv("TLS_PORT"); port != "" {
		cfg.TLSPorts, cfg.TLSDir = []string{port}, env.Getenv("TLS_DIR")
	}
	if port := env.Getenv("FCGI_PORT"); port != "" {
		cfg.Scripts = []string{port}
	}
	if ready := env.Getenv("READY"); ready != "" {
		b, err := strconv.ParseBool(ready)
		if err != nil {
			return fmt.Errorf("READY=%q: want true or false", ready)
		}
		cfg.NotReady = !b
	}
	for name, to := range map[string]*time.Duration{"DRAIN": &cfg.Drain, "DELAY": &cfg.Delay} {
		if v := env.Getenv(name); v != "" {
			d, err := time.ParseDuration(v)
			if err != nil {
				return fmt.Errorf("%s=%q: want a duration such as 1s", name, v)
			}
			*to = d
		}
	}
	return echo.Serve(ctx, cfg)
}

func get(ctx context.Context, env *cli.Env, args []string) error {
	g := echo.Get{Header: http.Header{"User-Agent": {"fairway-echo"}}}
	env.Usage, env.Short = "echo get [flags] URL", "Ask a URL and print the answer"
	fs := cli.Flags("get")
	fs.IntVar(&g.Count, "n", 1, "ask `COUNT` times, one after the other, and print which pods answered")
	fs.DurationVar(&g.For, "for", 0, "ask for this `TIME` instead of a number of times")
	fs.DurationVar(&g.Interval, "interval", 0, "pause between two requests")
	fs.DurationVar(&g.Timeout, "timeout", 5*time.Second, "limit for one request; 0: none")
	fs.StringVar(&g.Method, "X", "GET", "request `METHOD`")
	fs.StringVar(&g.Body, "d", "", "request `BODY`")
	fs.BoolVar(&g.Insecure, "k", false, "accept any certificate")
	fs.BoolVar(&g.KeepAlive, "keepalive", false, "reuse the connection for the next request")
	fs.StringVar(&g.Connect, "connect", "", "connect to `HOST:PORT` instead of the URL's host")
	fs.Func("H", "add a `HEADER: value`; Host too", func(s string) error {
		name, value, ok := strings.Cut(s, ":")
		if !ok {
			return errors.New("want NAME: VALUE")
		}
		g.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		return nil
	})
	pos, err := cli.Parse(env, fs, args, 1, 1)
	if err != nil {
		return err
	}
	g.URL = pos[0]
	if !strings.Contains(g.URL, "://") {
		g.URL = "http://" + g.URL
	}
	return g.Run(ctx, env.Stdout)
}

func dial(ctx context.Context, env *cli.Env, args []string) error {
	var d echo.Dial
	env.Usage, env.Short = "echo dial [flags] HOST:PORT", "Open a connection and say so"
	fs := cli.Flags("dial")
	fs.BoolVar(&d.UDP, "u", false, "UDP: send a datagram and print the answer")
	fs.DurationVar(&d.Timeout, "timeout", 5*time.Second, "how long to try")
	pos, err := cli.Parse(env, fs, args, 1, 1)
	if err != nil {
		return err
	}
	d.Addr = pos[0]
	return d.Run(ctx, env.Stdout)
}

func lookup(ctx context.Context, env *cli.Env, args []string) error {
	var l echo.Lookup
	env.Usage, env.Short = "echo lookup [flags] NAME [TYPE]", "Ask the pod's name server"
	fs := cli.Flags("lookup")
	fs.StringVar(&l.Conf, "conf", "/etc/resolv.conf", "resolver configuration `FILE`")
	fs.DurationVar(&l.Timeout, "timeout", 5*time.Second, "limit for one server's answer")
	pos, err := cli.Parse(env, fs, args, 1, 2)
	if err != nil {
		return err
	}
	l.Name = pos[0]
	if len(pos) == 2 {
		l.Type = pos[1]
	}
	return l.Run(ctx, env.Stdout)
}

func ask(ctx context.Context, env *cli.Env, args []string) error {
	var a echo.Ask
	env.Usage, env.Short = "echo ask [flags] NAME", "Ask the pod's name server again and again, each question once"
	fs := cli.Flags("ask")
	fs.StringVar(&a.Conf, "conf", "/etc/resolv.conf", "resolver configuration `FILE`")
	fs.IntVar(&a.Rate, "rate", 100, "questions per `SECOND`")
	fs.DurationVar(&a.For, "for", 10*time.Second, "how long to ask")
	fs.DurationVar(&a.Timeout, "timeout", 5*time.Second, "how long to wait for each answer")
	fs.BoolVar(&a.OneFlow, "one-flow", false, "ask from one socket instead of one per question")
	pos, err := cli.Parse(env, fs, args, 1, 1)
	if err != nil {
		return err
	}
	a.Name = pos[0]
	return a.Run(ctx, env.Stdout)
}
