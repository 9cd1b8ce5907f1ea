package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/trace"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
	"github.com/fairway-net/fairway/internal/source/file"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

func runDNSQuery(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("dns query")
	from := fs.String("from", "", "ask as a pod of `NAMESPACE` does, through its search path; NAMESPACE/POD: as that one, with its dnsPolicy and dnsConfig")
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
		kinds := zone.Kinds()
		if strings.Contains(*from, "/") || strings.Contains(pos[0], ".pod") { // there are many
			kinds = append(kinds, model.KindPod)
		}
		err = readZone(ctx, env, *kubeconfig, kinds, store)
	}
	if err != nil {
		return err
	}
	p := index.Params{Params: zone.Params{Zone: strings.Trim(*domain, "."), TTL: 5}}
	resolver, err := resolverOf(store.Snapshot(), *from, p.Zone)
	if err != nil {
		return err
	}
	steps, err := trace.Run(store.Snapshot(), p, resolver.Names(pos[0]), qtype)
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

// resolverOf is what --from says: nothing, NAMESPACE or NAMESPACE/POD.
func resolverOf(snap *state.Snapshot, from, domain string) (trace.Resolver, error) {
	namespace, name, named := strings.Cut(from, "/")
	if !named {
		return trace.OfNamespace(namespace, domain), nil
	}
	pod := snap.Pod(model.Name{Namespace: namespace, Name: name})
	if pod == nil {
		return trace.Resolver{}, cli.Hint(fmt.Errorf("no Pod %s", from), "give --from NAMESPACE for the search path of its pods")
	}
	r, err := trace.OfPod(pod, domain)
	if err != nil {
		err = cli.Hint(err, "give the pod dnsPolicy ClusterFirst, or ClusterFirstWithHostNet in the host's network")
	}
	return r, err
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
func readZone(ctx context.Context, env *cli.Env, kubeconfig string, kinds []model.Kind, store *state.Store) error {
	const hint = "is the cluster up? give --kubeconfig FILE, or --manifests FILE to do without a cluster"
	return readObjects(ctx, env, kubeconfig, hint, &kube.Options{Kinds: kinds}, store)
}
