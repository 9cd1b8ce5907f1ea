package main

import (
	"context"
	"errors"
	"os"
	"os/exec"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cluster"
	"github.com/fairway-net/fairway/internal/cluster/node"
)

func runNodeExec(_ context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("node exec")
	name := fs.String("name", "default", "`NAME` of the cluster")
	pos, err := cli.Parse(env, fs, args, 1, -1)
	if err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	command := pos[1:]
	if len(command) == 0 {
		command = []string{"sh"}
	}
	// The program ends on the terminal's own Ctrl-C, not by our hand. Its path
	// is found inside the node.
	cmd := &exec.Cmd{
		Args: command, Dir: "/", Stdin: env.Stdin, Stdout: env.Stdout, Stderr: env.Stderr,
		Env: []string{"PATH=" + node.SearchPath, "HOME=/root", "TERM=" + os.Getenv("TERM")},
	}
	err = cluster.FindRoot(env.Getenv).Exec(*name, pos[0], cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code > 0 {
			return cli.Exit(code)
		}
	}
	return err
}
