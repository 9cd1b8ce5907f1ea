package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// outside is the address from which this machine asks LoadBalancers. The suite
// takes a client for one of the nodes if their first 16 bits agree, as those of
// the machine's address beside them do.
const outside = "203.0.113.1"

// outsider gives this machine the address outside, on the device that leads to
// the cluster (and that goes with it), and tells the nodes where it is.
func (c cluster) outsider(ctx context.Context) error {
	nodes, err := c.nodes(ctx)
	if err != nil {
		return err
	}
	machine, device, err := c.way(ctx, nodes[0].address)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if _, err := c.fairway(ctx, "node", "exec", "--name", c.name, node.name, "--", "ip", "route", "replace", outside, "via", machine); err != nil {
			return err
		}
	}
	if _, err := output(exec.CommandContext(ctx, "ip", "address", "replace", outside+"/32", "dev", device)); err != nil {
		return err
	}
	var routes []struct{ Dst, Protocol, Scope string }
	if err := ipJSON(ctx, &routes, "-4", "route", "show", "dev", device); err != nil {
		return err
	}
	for _, r := range routes {
		if r.Scope == "link" && r.Protocol != "kernel" { // those of the LoadBalancers
			if _, err := output(exec.CommandContext(ctx, "ip", "route", "change", r.Dst, "dev", device, "scope", "link", "src", outside)); err != nil {
				return err
			}
		}
	}
	return nil
}

// node is one of the cluster's, with its first address.
type node struct{ name, address string }

// nodes returns at least one. Every phase's cluster has IPv4 first, for which
// outside is: of IPv6 the suite compares fewer bits than the nodes share.
func (c cluster) nodes(ctx context.Context) ([]node, error) {
	out, err := c.kubectl(ctx, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}`)
	if err != nil {
		return nil, err
	}
	var all []node
	for line := range strings.Lines(string(out)) {
		if field := strings.Fields(line); len(field) >= 2 {
			all = append(all, node{name: field[0], address: field[1]})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no node has an address: %q", out)
	}
	return all, nil
}

// way returns this machine's own address and device towards to.
func (c cluster) way(ctx context.Context, to string) (own, device string, err error) {
	var ways []struct{ Dev, Prefsrc string }
	if err := ipJSON(ctx, &ways, "route", "get", to); err != nil {
		return "", "", err
	}
	if len(ways) == 0 || ways[0].Prefsrc == "" {
		return "", "", fmt.Errorf("no route to the node %s", to)
	}
	return ways[0].Prefsrc, ways[0].Dev, nil
}

func ipJSON(ctx context.Context, into any, args ...string) error {
	out, err := output(exec.CommandContext(ctx, "ip", append([]string{"-j"}, args...)...))
	if err != nil {
		return err
	}
	return json.Unmarshal(out, into)
}
