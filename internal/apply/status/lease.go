package status

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/source/kube"
)

// The times of client-go's leader election, whose protocol this is: a Lease
// that nobody renewed for leaseDuration, by the reader's own clock, may be taken;
// a leader that could not renew for renewDeadline stops. (client-go's own package
// links every API group, 10 MB in each of our processes.)
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// lease is one candidate for a Lease object.
type lease struct {
	client   rest.Interface
	name     model.Name
	identity string
	log      *slog.Logger

	last     string    // holder and renew time as last seen
	lastSeen time.Time // when it last changed, by our clock
}

// Lead waits until the Lease called name is identity's, runs f, and gives the
// Lease back when f returns. f's context ends when the Lease is lost; Lead then
// returns an error, and the process should end so that nothing goes on writing.
func Lead(ctx context.Context, config *rest.Config, name model.Name, identity string, log *slog.Logger, f func(context.Context) error) error {
	client, err := kube.NewClients(config).ForGroup(coordinationv1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	l := &lease{client: client, name: name, identity: identity, log: log}
	for {
		if held, err := l.try(ctx); err != nil {
			log.Warn("leader election", "err", err)
		} else if held {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPeriod):
		}
	}
	log.Info("leading", "lease", name.String(), "identity", identity)
	leading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		cancel(l.renew(leading))
	}()
	err = f(leading)
	lost := context.Cause(leading)
	cancel(nil)
	<-renewed
	if ctx.Err() == nil && leading.Err() != nil && lost != nil {
		return fmt.Errorf("lease %v: %w", name, lost)
	}
	l.release()
	return err
}

// renew keeps the Lease until ctx ends (nil) or it is lost (error). Another
// may take it only after leaseDuration without renewal, so giving up after the
// shorter renewDeadline leaves no time with two leaders.
func (l *lease) renew(ctx context.Context) error {
	good := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryPeriod):
		}
		held, err := l.try(ctx)
		if held {
			good = time.Now()
		} else if time.Since(good) > renewDeadline {
			return fmt.Errorf("not renewed for %v (%v)", renewDeadline, err)
		}
	}
}

// try takes or renews the Lease if it is free or ours, and reports whether we hold it.
func (l *lease) try(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, renewDeadline/2)
	defer cancel()
	now := metav1.NowMicro()
	seconds := int32(leaseDuration / time.Second)
	var cur coordinationv1.Lease
	err := l.client.Get().Namespace(l.name.Namespace).Resource("leases").Name(l.name.Name).Do(ctx).Into(&cur)
	if apierrors.IsNotFound(err) {
		cur = coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: l.name.Namespace, Name: l.name.Name},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &l.identity, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now},
		}
		err = l.client.Post().Namespace(l.name.Namespace).Resource("leases").Body(&cur).Do(ctx).Error()
		return err == nil, ignoreRace(err)
	}
	if err != nil {
		return false, err
	}
	holder := ""
	if cur.Spec.HolderIdentity != nil {
		holder = *cur.Spec.HolderIdentity
	}
	if seen := fmt.Sprint(holder, cur.Spec.RenewTime); seen != l.last {
		l.last, l.lastSeen = seen, time.Now()
	}
	if holder != "" && holder != l.identity && time.Since(l.lastSeen) < leaseDuration {
		return false, nil
	}
	if holder != l.identity {
		cur.Spec.AcquireTime = &now
		transitions := int32(1)
		if t := cur.Spec.LeaseTransitions; t != nil {
			transitions = *t + 1
		}
		cur.Spec.LeaseTransitions = &transitions
	}
	cur.Spec.HolderIdentity, cur.Spec.LeaseDurationSeconds, cur.Spec.RenewTime = &l.identity, &seconds, &now
	err = l.put(ctx, &cur)
	return err == nil, ignoreRace(err)
}

// release lets the next candidate in at once.
func (l *lease) release() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var cur coordinationv1.Lease
	if err := l.client.Get().Namespace(l.name.Namespace).Resource("leases").Name(l.name.Name).Do(ctx).Into(&cur); err != nil {
		return
	}
	if h := cur.Spec.HolderIdentity; h == nil || *h != l.identity {
		return
	}
	none := ""
	cur.Spec.HolderIdentity = &none
	if err := l.put(ctx, &cur); err != nil {
		l.log.Info("lease not given back", "err", err)
	}
}

// put relies on the resource version in cur: of two writers one gets a conflict.
func (l *lease) put(ctx context.Context, cur *coordinationv1.Lease) error {
	return l.client.Put().Namespace(l.name.Namespace).Resource("leases").Name(l.name.Name).Body(cur).Do(ctx).Error()
}

// ignoreRace turns "somebody was faster" into "not held".
func ignoreRace(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
