package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// poll is how often a condition is looked at while a phase waits for it.
const poll = 40 * time.Millisecond

func (u *up) awaitAPI(ctx context.Context) (err error) {
	if u.client, err = u.newAPI(); err != nil {
		return err
	}
	err = u.await(ctx, func() (bool, string) { return u.client.ready(ctx), "the API server does not answer" })
	if err != nil {
		return err
	}
	return u.mergeKubeconfig(u.opt.Kubeconfig) // what fails from here on can be looked into
}

// awaitRegistered waits until all nodes have registered, and labels them.
func (u *up) awaitRegistered(ctx context.Context) error {
	err := u.awaitNodes(ctx, func(*nodeObject) (bool, string) { return true, "" })
	if err != nil {
		return err
	}
	for _, n := range u.Config.Nodes {
		// A kubelet may not give itself a role (NodeRestriction).
		labels := map[string]string{"node-role.kubernetes.io/" + n.Role: ""}
		maps.Copy(labels, n.Labels)
		if err := u.client.merge(ctx, "/api/v1/nodes/"+n.Name, map[string]any{"metadata": map[string]any{"labels": labels}}); err != nil {
			return fmt.Errorf("label node %s: %w", n.Name, err)
		}
	}
	return nil
}

func (u *up) awaitReady(ctx context.Context) error {
	return u.awaitNodes(ctx, (*nodeObject).ready)
}

// awaitNodes waits until every node exists and is as wanted.
func (u *up) awaitNodes(ctx context.Context, wanted func(*nodeObject) (bool, string)) error {
	return u.await(ctx, func() (bool, string) {
		nodes, err := u.client.nodes(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, name := range u.nodeNames() {
			n := nodes[name]
			if n == nil {
				return false, "node " + name + " has not registered"
			}
			if ok, why := wanted(n); !ok {
				return false, fmt.Sprintf("node %s is not ready: %s", name, why)
			}
		}
		return true, ""
	})
}

func (u *up) awaitFairway(ctx context.Context) error {
	return u.await(ctx, func() (bool, string) {
		list, err := u.client.fairway(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, w := range list {
			if !w.done(len(u.Config.Nodes)) {
				ready, want := w.counts()
				return false, fmt.Sprintf("%s %s/%s: %d of %d pods are ready", w.Kind, w.Metadata.Namespace, w.Metadata.Name, ready, want)
			}
		}
		return len(list) > 0, "no workload of Fairway exists"
	})
}

// await polls until done says so. The error of a wait that ends too early says
// what it last waited for.
func (s *State) await(ctx context.Context, done func() (bool, string)) error {
	last := ""
	for {
		ok, why := done()
		switch {
		case ok:
			return nil
		case ctx.Err() == nil:
			last = why
		case last == "":
			return context.Cause(ctx)
		default:
			return fmt.Errorf("%s: %w", last, context.Cause(ctx))
		}
		if broken := s.broken(); broken != nil {
			return broken
		}
		select {
		case <-ctx.Done():
		case <-time.After(poll):
		}
	}
}

// hopeless is how often a component may end before `up` no longer waits for it
// to come good.
const hopeless = 4

// broken reports what no further waiting will mend: no supervisor, or a node or
// component that ends again and again.
func (s *State) broken() error {
	if !s.supervised() {
		return errors.New("the supervisor has ended")
	}
	run, err := s.readRun()
	if err != nil {
		return err
	}
	for n, count := range run.Restarts {
		if count >= hopeless && run.Nodes[n] == 0 {
			return fmt.Errorf("%s (%d times)", run.Error, count)
		}
	}
	for _, n := range s.nodeNames() {
		stats, err := s.readStats(n)
		if err != nil {
			continue // it has not started any
		}
		for _, c := range stats {
			if c.PID == 0 && !c.Done && c.Starts >= hopeless {
				return fmt.Errorf("%s on node %s ended %d times: %s", c.Name, n, c.Starts, c.Exit)
			}
		}
	}
	return nil
}
