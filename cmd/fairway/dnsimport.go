package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/dns/corefile"
)

// runDNSImport prints the settings to stdout and what became of each line to
// stderr, so that the former can be redirected. It answers "no" if a line has
// no counterpart.
func runDNSImport(_ context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("dns import")
	zone := fs.String("zone", "cluster.local", "the cluster's `DOMAIN`")
	verbose := fs.Bool("v", false, "name the lines that were understood, too")
	pos, err := cli.Parse(env, fs, args, 1, 1)
	if err != nil {
		return err
	}
	hint := `give a Corefile, or "-" for standard input: kubectl -n kube-system get configmap coredns -o 'jsonpath={.data.Corefile}' | fairway dns import -`
	text, err := readAll(env, pos[0])
	if err != nil {
		return cli.Hint(err, hint)
	}
	blocks, err := corefile.Parse(text)
	if err != nil {
		return cli.Hint(fmt.Errorf("read %s: %w", pos[0], err), hint)
	}
	s, notes := corefile.Convert(blocks, *zone)
	fmt.Fprint(env.Stdout, s)
	lost := false
	for _, n := range notes {
		switch {
		case !n.Kept:
			lost = true
			fmt.Fprintf(env.Stderr, "not taken over: line %d: %s: %s\n", n.Line, n.Text, n.Why)
		case *verbose:
			fmt.Fprintf(env.Stderr, "taken over: line %d: %s: %s\n", n.Line, n.Text, n.Why)
		}
	}
	if lost {
		return cli.ErrNo
	}
	return nil
}

func readAll(env *cli.Env, path string) (string, error) {
	if path == "-" {
		b, err := io.ReadAll(env.Stdin)
		return string(b), err
	}
	b, err := os.ReadFile(path)
	return string(b), err
}
