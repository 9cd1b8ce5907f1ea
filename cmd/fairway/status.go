package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster"
)

func runStatus(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("status")
	name := fs.String("name", "", "`NAME` of the cluster; without it, all of them")
	var output cli.Output
	fs.Var(&output, "o", "`json` for machines")
	if _, err := cli.Parse(env, fs, args, 0, 0); err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	root := cluster.FindRoot(env.Getenv)
	names := []string{*name}
	if *name == "" {
		names = root.Names()
	}
	if len(names) == 0 && output == "" {
		fmt.Fprintln(env.Stdout, "No cluster. Start one with \"fairway up\".")
		return cli.ErrNo
	}
	all := []*cluster.Status{}
	healthy := true
	for _, n := range names {
		s, err := root.Status(ctx, n)
		if err != nil {
			return err
		}
		all = append(all, s)
		healthy = healthy && s.Healthy()
	}
	if output == "json" {
		if err := cli.PrintJSON(env.Stdout, all); err != nil {
			return err
		}
	} else {
		for _, s := range all {
			printStatus(env.Stdout, s)
		}
	}
	if !healthy || len(all) == 0 {
		return cli.ErrNo
	}
	return nil
}

func printStatus(w io.Writer, s *cluster.Status) {
	state := "running"
	switch {
	case !s.Running:
		state = fmt.Sprintf("stopped; start it with \"fairway up --name %s\"", s.Name)
	case !s.API:
		state = "running, but the API server does not answer"
	}
	fmt.Fprintf(w, "Cluster %s: %s\n", s.Name, state)
	fmt.Fprintf(w, "  API server %s, kubectl context %s, load balancers %s, egress %s\n", s.Server, s.Context, s.Pools, s.Egress)
	if s.Error != "" {
		fmt.Fprintf(w, "  error: %s\n", s.Error)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, n := range s.Nodes {
		ready := "ready"
		if !n.Ready {
			ready = "not ready: " + n.Message
		}
		fmt.Fprintf(tw, "  node\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.Address, ready)
		for _, c := range n.Components {
			if s.Running && !c.Running && !c.Done || c.Restarts > 0 {
				fmt.Fprintf(tw, "  \t\t%s\trestarted %d times\t%s\n", c.Name, c.Restarts, c.Exit)
			}
		}
	}
	for _, wl := range s.Workloads {
		fmt.Fprintf(tw, "  %s\t%s\t\t\t%d of %d ready\n", wl.Kind, wl.Name, wl.Ready, wl.Want)
	}
	tw.Flush()
	fmt.Fprintf(w, "  %d processes, %d MiB\n", len(s.Processes), s.PSS>>10)
}
