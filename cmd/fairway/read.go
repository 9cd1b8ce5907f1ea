package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// readObjects fills store with what o asks for, as the API server has it now,
// and puts into o how to reach the API server. kubeconfig may be "", or a list as
// $KUBECONFIG may be; hint is for who cannot reach it.
func readObjects(ctx context.Context, env *cli.Env, kubeconfig, hint string, o *kube.Options, store *state.Store) error {
	if kubeconfig == "" {
		if kubeconfig = env.Getenv("KUBECONFIG"); kubeconfig == "" {
			home := filepath.Join(env.Getenv("HOME"), ".kube", "config")
			if _, err := os.Stat(home); err == nil {
				kubeconfig = home
			}
		}
	}
	config, err := kube.ConnectAs(kubeconfig, "")
	if err != nil {
		return cli.Hint(err, hint)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	o.Rest, o.Log = config, cli.Logger(env)
	w := store.Watch(o.Kinds...)
	defer w.Close()
	done := make(chan error, 1)
	go func() { done <- kube.Run(ctx, *o, store) }()
	for !store.Snapshot().Synced(o.Kinds...) {
		select {
		case err := <-done:
			if err == nil {
				err = errors.New("no answer within 10 s")
			}
			return cli.Hint(fmt.Errorf("read from %s: %w", config.Host, err), hint)
		case <-w.C():
		}
	}
	return nil
}
