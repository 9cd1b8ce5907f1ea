package kube

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Options says what to follow.
type Options struct {
	Rest  *rest.Config // from Connect; not changed
	Kinds []model.Kind // each kind's table is owned by this source
	// Fields narrows the watch of a kind by a field selector, e.g.
	// "spec.nodeName=n1" for Pods. Secrets default to type=kubernetes.io/tls.
	Fields map[model.Kind]string
	// Labels narrows the watch of a kind by label selectors. Several are followed
	// side by side, an "or" that the API server has no selector for; no object
	// may match two of them.
	Labels map[model.Kind][]string
	// Namespace narrows the watch of a namespaced kind to one namespace.
	Namespace map[model.Kind]string
	// Trim empties fields of a new value that no reader of the store needs, for
	// the sake of memory, and so that a change of them is no change. nil: none.
	Trim func(v any)
	Log  *slog.Logger
}

// resource is how a kind is spelled on the API server.
type resource struct {
	gv      schema.GroupVersion
	plural  string
	example runtime.Object
}

func resourceOf(k model.Kind) resource {
	core, disc, net := corev1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion, networkingv1.SchemeGroupVersion
	switch k {
	case model.KindService:
		return resource{core, "services", &corev1.Service{}}
	case model.KindEndpointSlice:
		return resource{disc, "endpointslices", &discoveryv1.EndpointSlice{}}
	case model.KindPod:
		return resource{core, "pods", &corev1.Pod{}}
	case model.KindNamespace:
		return resource{core, "namespaces", &corev1.Namespace{}}
	case model.KindNode:
		return resource{core, "nodes", &corev1.Node{}}
	case model.KindNetworkPolicy:
		return resource{net, "networkpolicies", &networkingv1.NetworkPolicy{}}
	case model.KindIngress:
		return resource{net, "ingresses", &networkingv1.Ingress{}}
	case model.KindIngressClass:
		return resource{net, "ingressclasses", &networkingv1.IngressClass{}}
	case model.KindSecret:
		return resource{core, "secrets", &corev1.Secret{}}
	case model.KindConfigMap:
		return resource{core, "configmaps", &corev1.ConfigMap{}}
	case model.KindServiceCIDR:
		return resource{net, "servicecidrs", &networkingv1.ServiceCIDR{}}
	}
	panic(fmt.Sprintf("source/kube: no resource for %v", k))
}

// Run follows all kinds of o and writes them to store until ctx ends. Lost
// connections are retried for ever with backoff; the store keeps what it has
// meanwhile. It returns nil when ctx ends and an error only for options that
// cannot work.
func Run(ctx context.Context, o Options, store *state.Store) error {
	clients := NewClients(o.Rest)
	var wg sync.WaitGroup
	for _, kind := range o.Kinds {
		res := resourceOf(kind)
		rc, err := clients.ForGroup(res.gv)
		if err != nil {
			return err
		}
		selector := fields.Everything()
		text := o.Fields[kind]
		if text == "" && kind == model.KindSecret {
			text = "type=" + string(corev1.SecretTypeTLS)
		}
		if text != "" {
			if selector, err = fields.ParseSelector(text); err != nil {
				return fmt.Errorf("watch %v: field selector: %w", kind, err)
			}
		}
		selectors := o.Labels[kind]
		if len(selectors) == 0 {
			selectors = []string{""}
		}
		t := newTable(kind, store, len(selectors))
		for _, sel := range selectors {
			if _, err := labels.Parse(sel); err != nil {
				return fmt.Errorf("watch %v: label selector: %w", kind, err)
			}
			lw := cache.NewFilteredListWatchFromClient(rc, res.plural, o.Namespace[kind], func(list *metav1.ListOptions) {
				list.FieldSelector, list.LabelSelector = selector.String(), sel
			})
			sink := newSink(t, o.Log)
			sink.trim = o.Trim
			r := cache.NewReflectorWithOptions(lw, res.example, sink, cache.ReflectorOptions{Name: "fairway/" + res.plural})
			wg.Go(func() {
				if awaitServed(ctx, kind, rc, res.plural, store, o.Log) {
					r.RunWithContext(ctx)
				}
			})
		}
	}
	wg.Wait()
	return nil
}

// awaitServed returns true when the API server serves a kind, and false when ctx
// ends before. Only ServiceCIDR may be missing: it is stable since Kubernetes
// 1.33, and a cluster without it has none, which is known at once.
func awaitServed(ctx context.Context, kind model.Kind, rc *rest.RESTClient, plural string, store *state.Store, log *slog.Logger) bool {
	const again = 10 * time.Minute // the API server may be upgraded
	if kind != model.KindServiceCIDR {
		return true
	}
	for said := false; ; said = true {
		err := rc.Get().Resource(plural).VersionedParams(&metav1.ListOptions{Limit: 1}, metav1.ParameterCodec).Do(ctx).Error()
		// The client asks for a ClusterRole that an upgrade may not have brought yet.
		if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return ctx.Err() == nil
		}
		if !said {
			log.Info("ServiceCIDRs cannot be followed; those of the configuration count", "reason", err)
		}
		store.Update(func(tx *state.Tx) { tx.SetSynced(kind) })
		select {
		case <-ctx.Done():
			return false
		case <-time.After(again):
		}
	}
}

// NamedSlices selects the EndpointSlices that names are made of, those of
// headless Services, and so spares the API server and the caller all others. The
// EndpointSlice controller labels those of headless Services; slices of anybody
// else (mirrored Endpoints, made by hand) need not have the label and are all taken.
func NamedSlices() []string {
	const headless, by = corev1.IsHeadlessService, discoveryv1.LabelManagedBy
	return []string{headless, "!" + headless + "," + by + "!=endpointslice-controller.k8s.io"}
}
