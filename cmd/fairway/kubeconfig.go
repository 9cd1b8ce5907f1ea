package main

import (
	"context"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster"
)

func runKubeconfig(_ context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("kubeconfig")
	name := fs.String("name", "default", "`NAME` of the cluster")
	if _, err := cli.Parse(env, fs, args, 0, 0); err != nil {
		return err
	}
	data, err := cluster.FindRoot(env.Getenv).Kubeconfig(*name)
	if err != nil {
		return err
	}
	_, err = env.Stdout.Write(data)
	return err
}
