package main

import (
	"context"
	"os/exec"
)

// outside is the address from which this machine asks LoadBalancers. The suite
// takes a client for one of the nodes if their first 16 bits agree, as those of
// the machine's address beside them do.
const outside = "203.0.113.1"

// outsider gives this machine the address outside, on the device that leads to
// the cluster (and that goes with it), and tells the nodes where it is.
func (c cluster) outsider(ctx context.Context, u uplink) error {
	if err := c.route(ctx, u, outside, u.machine); err != nil {
		return err
	}
	if _, err := output(exec.CommandContext(ctx, "ip", "address", "replace", outside+"/32", "dev", u.device)); err != nil {
		return err
	}
	var routes []struct{ Dst, Protocol, Scope string }
	if err := ipJSON(ctx, &routes, "-4", "route", "show", "dev", u.device); err != nil {
		return err
	}
	for _, r := range routes {
		if r.Scope == "link" && r.Protocol != "kernel" { // those of the LoadBalancers
			if _, err := output(exec.CommandContext(ctx, "ip", "route", "change", r.Dst, "dev", u.device, "scope", "link", "src", outside)); err != nil {
				return err
			}
		}
	}
	return nil
}
