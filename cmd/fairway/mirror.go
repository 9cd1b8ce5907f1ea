package main

import (
	"context"
	"log/slog"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster"
)

func runMirror(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags(cluster.VerbMirror)
	loaded := fs.String("loaded", "", "serve only images of which this `DIRECTORY` says that they were loaded")
	pos, err := cli.Parse(env, fs, args, 1, 1)
	if err != nil {
		return err
	}
	return cluster.RunMirror(ctx, slog.New(slog.NewTextHandler(env.Stderr, nil)), pos[0], *loaded)
}
