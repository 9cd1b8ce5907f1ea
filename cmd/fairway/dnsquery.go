package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/trace"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/source/file"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

func runDNSQuery(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("dns query")
	from := fs.String("from", "", "ask as a pod of `NAMESPACE` does, through its search path; NAMESPACE/POD is fine, too")
	kind := fs.String("type", "A", "record `TYPE` to ask for")
	domain := fs.String("zone", "cluster.local", "the cluster's `DOMAIN`")
	kubeconfig := fs.String("kubeconfig", "", "use `FILE` instead of $KUBECONFIG or ~/.kube/config")
	manifests := fs.String("manifests", "", "read `FILE|DIR` instead of asking an API server")
	var output cli.Output
	fs.Var(&output, "o", "output `FORMAT`: json")
	pos, err := cli.Parse(env, fs, args, 1, 1)
	if err != nil {
		return err
	}
	qtype, ok := dns.StringToType[strings.ToUpper(*kind)]
	if !ok {
		return cli.Hint(fmt.Errorf("unknown record type %q", *kind), "A, AAAA, SRV, PTR, CNAME, TXT …")
	}
	store := state.New()
	if *manifests != "" {
		err = file.New(file.Options{Paths: []string{*manifests}, Log: cli.Logger(env)}, store).Load()
	} else {
		err = readZone(ctx, env, *kubeconfig, store)
	}
	if err != nil {
		return err
	}
	namespace, _, _ := strings.Cut(*from, "/")
	p := index.Params{Params: zone.Params{Zone: strings.Trim(*domain, "."), TTL: 5}}
	steps, err := trace.Run(store.Snapshot(), p, trace.Names(pos[0], namespace, p.Zone), qtype)
	if err != nil {
		return err
	}
	if output == "json" {
		if err := cli.PrintJSON(env.Stdout, steps); err != nil {
			return err
		}
	} else {
		printSteps(env, steps)
	}
	if last := steps[len(steps)-1]; len(last.Answers) == 0 && last.Status != "FORWARDED" {
		return cli.ErrNo
	}
	return nil
}

func printSteps(env *cli.Env, steps []trace.Step) {
	for _, s := range steps {
		fmt.Fprintf(env.Stdout, "%s %s\n", s.Name, s.Status)
		for _, a := range s.Answers {
			fmt.Fprintf(env.Stdout, "  %s\n", a)
		}
		for _, o := range s.Objects {
			fmt.Fprintf(env.Stdout, "  because: %s\n", o)
		}
	}
}

// readZone fills store with what the zone is made of, as the API server has it now.
func readZone(ctx context.Context, env *cli.Env, kubeconfig string, store *state.Store) error {
	const hint = "is the cluster up? give --kubeconfig FILE, or --manifests FILE to do without a cluster"
	return readObjects(ctx, env, kubeconfig, hint, &kube.Options{Kinds: zone.Kinds()}, store)
}
