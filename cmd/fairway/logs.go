package main

import (
	"context"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster"
)

func runLogs(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("logs")
	name := fs.String("name", "default", "`NAME` of the cluster")
	node := fs.String("node", "", "`NODE` whose component it is; without it, the first that has it")
	follow := fs.Bool("f", false, "go on as the log grows")
	pos, err := cli.Parse(env, fs, args, 1, 1)
	if err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	return cluster.FindRoot(env.Getenv).Logs(ctx, env.Stdout, *name, pos[0], *node, *follow)
}
