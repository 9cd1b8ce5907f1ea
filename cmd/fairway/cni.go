package main

import (
	"context"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cni"
)

// runCNI is the CNI plugin; cmd/fairway-cni is the same as a small program.
func runCNI(_ context.Context, env *cli.Env, _ []string) error {
	p := cni.OS()
	p.Getenv, p.Stdin, p.Stdout = env.Getenv, env.Stdin, env.Stdout
	if code := p.Run(); code != 0 {
		return cli.Exit(code) // the error has been printed, as the specification wants it
	}
	return nil
}
