package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster"
)

func runDoctor(_ context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("doctor")
	var output cli.Output
	fs.Var(&output, "o", "`json` for machines")
	if _, err := cli.Parse(env, fs, args, 0, 0); err != nil {
		return err
	}
	checks := cluster.FindRoot(env.Getenv).Examine(nil)
	if output == "json" {
		if err := cli.PrintJSON(env.Stdout, checks); err != nil {
			return err
		}
	} else {
		for _, c := range checks {
			fmt.Fprintf(env.Stdout, " %-4s  %-12s %s\n", c.Level, c.Name, c.Message)
			if c.Fix != "" {
				fmt.Fprintf(env.Stdout, "       %-12s fix: %s\n", "", c.Fix)
			}
		}
	}
	if slices.ContainsFunc(checks, func(c cluster.Check) bool { return c.Level == cluster.Fail }) {
		return cli.ErrNo
	}
	return nil
}
