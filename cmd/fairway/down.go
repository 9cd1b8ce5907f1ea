package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster"
)

func runDown(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("down")
	name := fs.String("name", "default", "`NAME` of the cluster")
	if _, err := cli.Parse(env, fs, args, 0, 0); err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	kept, err := cluster.FindRoot(env.Getenv).Down(ctx, *name, cluster.NewProgress(env.Stderr))
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "Cluster %q is removed.\n", *name)
	for _, k := range kept {
		fmt.Fprintf(env.Stdout, "Kept: %s.\n", k)
	}
	return nil
}

// needRoot refuses early, in words, what would fail late for lack of rights.
func needRoot() error {
	if os.Geteuid() != 0 {
		return cli.Hint(errors.New("this needs root"), "run it with sudo")
	}
	return nil
}

// given returns which flags the user has set.
func given(fs *flag.FlagSet) map[string]bool {
	set := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { set[f.Name] = true })
	return set
}
