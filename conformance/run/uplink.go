package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// uplink is the way between this machine and the cluster's nodes.
type uplink struct {
	nodes   []string // names, at least one
	machine string   // this machine's address on it, IPv4
	device  string   // of this machine
}

// uplink looks at the first node. Every phase's cluster has IPv4 first, for which
// outside is: of IPv6 the suite compares fewer bits than the nodes share.
func (c cluster) uplink(ctx context.Context) (u uplink, err error) {
	out, err := c.kubectl(ctx, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}`)
	if err != nil {
		return u, err
	}
	first := ""
	for line := range strings.Lines(string(out)) {
		if field := strings.Fields(line); len(field) >= 2 {
			u.nodes = append(u.nodes, field[0])
			if first == "" {
				first = field[1]
			}
		}
	}
	if first == "" {
		return u, fmt.Errorf("no node has an address: %q", out)
	}
	var ways []struct{ Dev, Prefsrc string }
	if err := ipJSON(ctx, &ways, "route", "get", first); err != nil {
		return u, err
	}
	if len(ways) == 0 || ways[0].Prefsrc == "" {
		return u, fmt.Errorf("no route to the node %s", first)
	}
	u.machine, u.device = ways[0].Prefsrc, ways[0].Dev
	return u, nil
}

// route gives all nodes a route to an address.
func (c cluster) route(ctx context.Context, u uplink, to, via string) error {
	for _, node := range u.nodes {
		if _, err := c.fairway(ctx, "node", "exec", "--name", c.name, node, "--", "ip", "route", "replace", to, "via", via); err != nil {
			return err
		}
	}
	return nil
}

func ipJSON(ctx context.Context, into any, args ...string) error {
	out, err := output(exec.CommandContext(ctx, "ip", append([]string{"-j"}, args...)...))
	if err != nil {
		return err
	}
	return json.Unmarshal(out, into)
}
