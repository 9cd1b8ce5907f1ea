package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fairway-net/fairway/internal/agent"
	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/migrate"
)

// runMigrate answers "no" if something is not supported, so that a pipeline can ask.
func runMigrate(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("migrate ingress-nginx")
	var files []string
	fs.Func("f", "read these manifests, `FILE|DIR`, and those given as arguments, instead of a cluster", func(s string) error {
		files = append(files, s)
		return nil
	})
	kubeconfig := fs.String("kubeconfig", "", "read the cluster of `FILE` instead of your kubeconfig's")
	kubeContext := fs.String("context", "", "read the cluster of this `CONTEXT` of the kubeconfig")
	var output cli.Output
	fs.Var(&output, "o", "`json` for machines")
	more, err := cli.Parse(env, fs, args, 0, -1)
	if err != nil {
		return err
	}
	if len(more) > 0 && len(files) == 0 {
		return cli.Hint(fmt.Errorf("unexpected argument %q", more[0]), "usage: "+env.Usage+"; files go with -f")
	}
	var r *migrate.Report
	if files = append(files, more...); len(files) > 0 {
		r, err = agent.MigrateFiles(files, time.Now())
		if err != nil {
			return cli.Hint(err, "correct the manifest, or leave it out")
		}
	} else if r, err = agent.MigrateCluster(ctx, *kubeconfig, *kubeContext, time.Now()); err != nil {
		return cli.Hint(err, "give --context or --kubeconfig, or manifests with -f")
	}
	if output == "json" {
		err = cli.PrintJSON(env.Stdout, r)
	} else {
		r.Print(env.Stdout)
	}
	if err == nil && !r.Supported() {
		return cli.ErrNo
	}
	return err
}
