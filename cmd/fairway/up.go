package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster"
	"github.com/fairway-net/fairway/internal/cluster/kubeconfig"
)

func runUp(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("up")
	name := fs.String("name", "default", "`NAME` of the cluster")
	nodes := fs.Int("nodes", 2, "`number` of nodes")
	config := fs.String("config", "", "`FILE` with a cluster configuration")
	egress := fs.String("egress", "none", "`none|nat`: whether pods may reach what the machine reaches")
	family := fs.String("ip-family", "ipv4", "`ipv4|ipv6|dual`: the address families of nodes, pods and Services")
	timeout := fs.Duration("timeout", 2*time.Minute, "give up after this `duration`")
	bare := fs.Bool("bare", false, "start Kubernetes without Fairway: bring your own network")
	if _, err := cli.Parse(env, fs, args, 0, 0); err != nil {
		return err
	}
	opt := cluster.UpOptions{Name: *name, Bare: *bare, Progress: cluster.NewProgress(env.Stderr)}
	set := given(fs)
	if set["config"] || set["nodes"] || set["egress"] || set["ip-family"] {
		c := &cluster.Config{Nodes: cluster.Nodes(*nodes)}
		if *config != "" {
			var err error
			if c, err = cluster.ReadConfig(*config); err != nil {
				return err
			}
		}
		if set["nodes"] && *config != "" {
			return cli.Hint(errors.New("--nodes and --config exclude each other"), "list the nodes in the file")
		}
		if *nodes < 1 {
			return cli.Hint(fmt.Errorf("--nodes %d is too few", *nodes), "use 1 or more")
		}
		if set["egress"] || c.Egress == "" {
			c.Egress = cluster.Egress(*egress)
		}
		if set["ip-family"] {
			c.Networking.IPFamily = cluster.IPFamily(*family)
		}
		if set["name"] || c.Name == "" {
			c.Name = *name
		}
		opt.Name, opt.Config = c.Name, c
	}
	var err error
	if opt.Kubeconfig, err = kubeconfig.Locate(env.Getenv); err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("not done after %s (--timeout)", *timeout))
	defer cancel()
	changed, err := cluster.FindRoot(env.Getenv).Up(ctx, opt)
	var f *cluster.Failure
	if errors.As(err, &f) && len(f.Lines) > 0 {
		opt.Progress.Say("\nlast lines of %s:", f.Component)
		for _, line := range f.Lines {
			opt.Progress.Say("  %s", line)
		}
	}
	switch {
	case err != nil:
		return err
	case !changed:
		fmt.Fprintf(env.Stdout, "Cluster %q is up; nothing to do.\n", opt.Name)
	default:
		fmt.Fprintf(env.Stdout, "Cluster %q is up after %.1f s. kubectl uses it as context fairway-%s (%s).\n",
			opt.Name, opt.Progress.Total().Seconds(), opt.Name, opt.Kubeconfig.Path)
	}
	return nil
}

func runSupervise(ctx context.Context, env *cli.Env, args []string) error {
	pos, err := cli.Parse(env, cli.Flags(cluster.VerbSupervise), args, 1, 1)
	if err != nil {
		return err
	}
	return cluster.Supervise(ctx, slog.New(slog.NewTextHandler(env.Stderr, nil)), pos[0])
}

func runNodeInit(ctx context.Context, env *cli.Env, args []string) error {
	pos, err := cli.Parse(env, cli.Flags(cluster.VerbNode), args, 1, 1)
	if err != nil {
		return err
	}
	return cluster.RunNode(ctx, slog.New(slog.NewTextHandler(env.Stderr, nil)), pos[0])
}
