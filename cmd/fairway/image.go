package main

import (
	"context"
	"fmt"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster"
)

func runImageLoad(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("image load")
	name := fs.String("name", "default", "`NAME` of the cluster")
	files, err := cli.Parse(env, fs, args, 1, -1)
	if err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	images, err := cluster.FindRoot(env.Getenv).LoadImages(ctx, *name, files)
	for _, img := range images {
		fmt.Fprintln(env.Stdout, img)
	}
	return err
}
