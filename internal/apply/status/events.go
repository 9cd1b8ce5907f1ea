package status

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/source/kube"
)

// repeat is how often an Event is renewed while its cause lasts. API servers
// forget Events after an hour.
const repeat = 30 * time.Minute

// patience is how long a mistake must last before it is told: objects of one
// manifest arrive one after the other, and an Ingress that comes before its
// Service is none.
const patience = time.Second

// component is the source that Events name.
const component = "fairway"

// Events writes one Event for each Rejected and renews it while it lasts. The
// Event's name follows from its content, so a restart or another leader counts
// up the same Event instead of writing a second one.
type Events struct {
	core  rest.Interface
	now   func() time.Time
	since map[eventKey]time.Time // when a mistake that lasts was first seen
	sent  map[eventKey]time.Time // when it was last told
}

type eventKey struct {
	uid, reason, note string
}

// NewEvents returns the Events of a role that writes nothing else.
func NewEvents(config *rest.Config) (*Events, error) {
	core, err := kube.NewClients(config).ForGroup(corev1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	return newEvents(core), nil
}

func newEvents(core rest.Interface) *Events {
	return &Events{core: core, now: time.Now, since: map[eventKey]time.Time{}, sent: map[eventKey]time.Time{}}
}

// Emit tells what is new or was told long ago. wait is the time until there
// will be something to tell though nothing changes; 0: never.
func (e *Events) Emit(ctx context.Context, rejected []model.Rejected) (wait time.Duration, err error) {
	var errs []error
	now := e.now()
	current := map[eventKey]bool{}
	for _, r := range rejected {
		key := eventKey{r.Ref.UID, r.Reason, r.String()}
		current[key] = true
		if _, ok := e.since[key]; !ok {
			e.since[key] = now
		}
		if left := patience - now.Sub(e.since[key]); left > 0 {
			wait = max(wait, left)
			continue
		}
		if at, ok := e.sent[key]; ok && now.Sub(at) < repeat {
			continue
		}
		if err := e.write(ctx, r, now); err != nil {
			errs = append(errs, fmt.Errorf("write Event for %v: %w", r.Ref, err))
			continue
		}
		e.sent[key] = now
	}
	for key := range e.since {
		if !current[key] { // if the mistake comes back it is worth a new Event
			delete(e.since, key)
			delete(e.sent, key)
		}
	}
	return wait, errors.Join(errs...)
}

func (e *Events) write(ctx context.Context, r model.Rejected, now time.Time) error {
	namespace := r.Ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	stamp := metav1.NewTime(now)
	ev := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: eventName(r)},
		InvolvedObject: corev1.ObjectReference{
			Kind: r.Ref.Kind.String(), APIVersion: apiVersion(r.Ref.Kind), Namespace: r.Ref.Namespace, Name: r.Ref.Name.Name, UID: types.UID(r.Ref.UID),
		},
		Type: corev1.EventTypeWarning, Reason: r.Reason, Message: truncate(r.String()),
		Source:         corev1.EventSource{Component: component},
		FirstTimestamp: stamp, LastTimestamp: stamp, Count: 1,
	}
	err := e.core.Post().Namespace(namespace).Resource("events").Body(ev).Do(ctx).Error()
	if apierrors.IsAlreadyExists(err) {
		body := fmt.Sprintf(`{"lastTimestamp":%q}`, now.UTC().Format(time.RFC3339))
		err = e.core.Patch(types.MergePatchType).Namespace(namespace).Resource("events").Name(ev.Name).Body([]byte(body)).Do(ctx).Error()
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err) {
		return nil // nobody is left to read it
	}
	return err
}

// eventName is "<object>.<hash>", as client-go's recorders name theirs.
func eventName(r model.Rejected) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s", r.Ref.UID, r.Ref.Kind, r.Reason, r.String())
	return fmt.Sprintf("%.200s.%016x", r.Ref.Name.Name, h.Sum64())
}
