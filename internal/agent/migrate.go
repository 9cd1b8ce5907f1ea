package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fairway-net/fairway/internal/migrate"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/source/file"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// MigrateFiles reports on the Ingresses of manifests.
func MigrateFiles(paths []string, now time.Time) (*migrate.Report, error) {
	objects, errs := file.Objects(paths)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	store := state.New()
	file.Fill(store, objects)
	where := map[state.Change]*file.Object{}
	for i := range objects {
		where[state.ChangeOf(objects[i].Value)] = &objects[i]
	}
	place := func(ref model.Ref, field string) (string, int) {
		o := where[state.Change{Kind: ref.Kind, Key: ref.Name.String()}]
		if o == nil {
			return "", 0
		}
		return o.File, o.Line(field)
	}
	return migrate.Make(store.Snapshot(), file.Programs(paths), place, true, now), nil
}

// migrateTime bounds the reading of a cluster.
const migrateTime = time.Minute

// MigrateCluster reports on the Ingresses of a running cluster, which it only reads.
func MigrateCluster(ctx context.Context, kubeconfig, kubeContext string, now time.Time) (*migrate.Report, error) {
	rest, err := kube.ConnectAs(kubeconfig, kubeContext)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, migrateTime)
	defer stop()
	if err := kube.Ask(ctx, rest); err != nil { // or it would be tried again for as long as there is time
		return nil, fmt.Errorf("read the cluster: %w", err)
	}
	store := state.New()
	ended := make(chan error, 1)
	go func() {
		ended <- kube.Run(ctx, kube.Options{Rest: rest, Kinds: route.Kinds(), Fields: routeFields(), Log: slog.New(slog.DiscardHandler)}, store)
	}()
	for !store.Snapshot().Synced(route.Kinds()...) {
		select {
		case err := <-ended:
			return nil, errors.Join(err, fmt.Errorf("read the cluster at %s: not all of it within %v", rest.Host, migrateTime))
		case <-time.After(20 * time.Millisecond):
		}
	}
	programs, err := kube.Programs(ctx, rest, "app.kubernetes.io/name=ingress-nginx")
	if err != nil {
		return nil, fmt.Errorf("read the cluster: %w", err)
	}
	nowhere := func(model.Ref, string) (string, int) { return "", 0 }
	return migrate.Make(store.Snapshot(), programs, nowhere, false, now), nil
}
