// Command fairway is the whole Kubernetes service network in one program.
//
// The file main.go holds the command table and nothing else of substance.
// Every verb has a file of its own with one function that parses its flags,
// calls into internal/, and prints. Noun commands (status, doctor, …) read;
// verb commands (up, down, …) change something.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fairway-net/fairway/internal/cli"
)

// command is one row of the table. A name of two words ("image load") is a
// noun with its verb.
type command struct {
	name  string
	args  string // what follows the flags, for the usage line
	short string // one line, imperative, no full stop
	group string // heading in the help text; "" hides the command
	run   func(ctx context.Context, env *cli.Env, args []string) error
}

func commands() []command {
	return []command{
		{"dns", "", "Run the DNS role: the cluster's names, other names forwarded", "Roles (run by the manifests)", runDNS},
		{"agent", "", "Run the agent role: CNI, Services and policies of one node", "Roles (run by the manifests)", runAgent},
		{"cni", "", "Be the CNI plugin", "", runCNI},
		{"gateway", "", "Run the gateway role: the proxy for Ingresses", "Roles (run by the manifests)", runGateway},
		{"controller", "", "Run the controller role: addresses, statuses, Events", "Roles (run by the manifests)", runController},
		{"up", "", "Start a cluster on this machine, with Fairway in it", "Cluster", runUp},
		{"down", "", "Remove a cluster and everything of it", "Cluster", runDown},
		{"status", "", "Show clusters, nodes, processes and their memory", "Cluster", runStatus},
		{"services", "[NAME]", "Show Services: addresses, backends and why, and what is in the nodes' kernels", "Cluster", runServices},
		{"doctor", "", "Check whether this machine can run a cluster", "Cluster", runDoctor},
		{"kubeconfig", "", "Print the kubeconfig of a cluster", "Cluster", runKubeconfig},
		{"logs", "COMPONENT", "Print the log of a cluster's component", "Cluster", runLogs},
		{"image load", "FILE.tar...", "Load image archives into all nodes", "Cluster", runImageLoad},
		{"node exec", "NODE -- CMD...", "Run a program on a node", "Cluster", runNodeExec},
		{"cluster-supervise", "DIR", "Keep the nodes of a cluster running", "", runSupervise},
		{"node-init", "SPEC", "Be process 1 of a node", "", runNodeInit},
		{"node-mirror", "CLUSTER", "Serve a node the images that it has", "", runMirror},
		{"dns query", "NAME", "Show how a pod's lookup goes, and which object each answer comes from", "Other", runDNSQuery},
		{"dns import", "COREFILE", "Say a CoreDNS configuration in Fairway's settings, and what has no counterpart", "Other", runDNSImport},
		{"migrate ingress-nginx", "", "Say what becomes of Ingresses that were written for ingress-nginx", "Other", runMigrate},
		{"version", "", "Print the version", "Other", runVersion},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := cli.OSEnv()
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "fairway-cni" { // the name under which kubelet's runtime calls us
		args = []string{"cni"}
	}
	os.Exit(run(ctx, env, args))
}

// run finds the command for args, runs it, prints its error and returns the
// process's exit code: 0 done, 1 the command answered "no", 2 error.
func run(ctx context.Context, env *cli.Env, args []string) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(env)
		return 0
	}
	cmd, rest := find(commands(), args)
	if cmd == nil {
		cli.PrintError(env.Stderr, cli.Hint(fmt.Errorf("unknown command %q", args[0]), "run \"fairway help\" for the list"))
		return 2
	}
	env.Usage = strings.TrimSpace("fairway " + cmd.name + " [flags] " + cmd.args)
	env.Short = cmd.short
	err := cmd.run(ctx, env, rest)
	switch {
	case err == nil, errors.Is(err, cli.ErrHelp):
		return 0
	case errors.Is(err, cli.ErrNo):
		return 1
	}
	code, quiet := cli.ExitCode(err)
	if !quiet {
		cli.PrintError(env.Stderr, err)
	}
	return code
}

// find prefers a two-word name over a one-word name.
func find(table []command, args []string) (*command, []string) {
	for n := min(2, len(args)); n > 0; n-- {
		name := strings.Join(args[:n], " ")
		for i := range table {
			if table[i].name == name {
				return &table[i], args[n:]
			}
		}
	}
	return nil, nil
}

func usage(env *cli.Env) {
	fmt.Fprintln(env.Stdout, "Fairway is the whole Kubernetes service network in one program.")
	group := ""
	for _, c := range commands() {
		if c.group == "" {
			continue
		}
		if c.group != group {
			group = c.group
			fmt.Fprintf(env.Stdout, "\n%s:\n", group)
		}
		fmt.Fprintf(env.Stdout, "  %-28s %s\n", strings.TrimSpace(c.name+" "+c.args), c.short)
	}
	fmt.Fprintln(env.Stdout, "\nRun \"fairway COMMAND -h\" for the flags of a command.")
}
