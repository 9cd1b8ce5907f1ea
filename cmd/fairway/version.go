package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/version"
)

func runVersion(_ context.Context, env *cli.Env, args []string) error {
	if _, err := cli.Parse(env, cli.Flags("version"), args, 0, 0); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "fairway %s %s/%s\n", version.Version, runtime.GOOS, runtime.GOARCH)
	return nil
}
