package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// Want is what the API should show.
type Want struct {
	// Services that Fairway is responsible for, with their addresses; nil clears.
	Services map[model.Name][]netip.Addr
	// Ingresses that Fairway is responsible for; nil clears. An Ingress that
	// is absent is not touched.
	Ingresses map[model.Name][]model.LoadBalancerIngress
	// Rejected become Events.
	Rejected []model.Rejected
}

// Writer writes statuses and Events.
type Writer struct {
	core, networking rest.Interface
	events           *Events
	log              *slog.Logger
}

// NewWriter returns a Writer for the API server of config.
func NewWriter(config *rest.Config, log *slog.Logger) (*Writer, error) {
	clients := kube.NewClients(config)
	core, err := clients.ForGroup(corev1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	networking, err := clients.ForGroup(networkingv1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	return &Writer{core: core, networking: networking, events: newEvents(core), log: log}, nil
}

// Apply makes the API show want. It goes on after an error, so that one object
// cannot hold up the others, and returns all errors. If again is not 0, Apply
// wants to be called again after that long: a mistake is told only if it lasts.
func (w *Writer) Apply(ctx context.Context, snap *state.Snapshot, want Want) (again time.Duration, err error) {
	var errs []error
	for _, name := range sorted(want.Services) {
		if svc := snap.Service(name); svc != nil {
			errs = append(errs, w.applyService(ctx, svc, want.Services[name]))
		}
	}
	for _, name := range sorted(want.Ingresses) {
		if ing, ok := snap.Ingresses.Get(name.String()); ok {
			errs = append(errs, w.applyIngress(ctx, ing, want.Ingresses[name]))
		}
	}
	again, err = w.events.Emit(ctx, want.Rejected)
	return again, errors.Join(append(errs, err)...)
}

func (w *Writer) applyService(ctx context.Context, svc *model.Service, addrs []netip.Addr) error {
	var want []model.LoadBalancerIngress
	for _, a := range addrs {
		want = append(want, model.LoadBalancerIngress{IP: a})
	}
	if slices.Equal(svc.LoadBalancer, want) {
		return nil
	}
	if err := patchLoadBalancer(ctx, w.core, "services", svc.Name, want, true); err != nil {
		return fmt.Errorf("write status of Service %v: %w", svc.Name, err)
	}
	w.log.Info("wrote status", "object", "Service "+svc.Name.String(), "addresses", addrs)
	return nil
}

func (w *Writer) applyIngress(ctx context.Context, ing *model.Ingress, want []model.LoadBalancerIngress) error {
	if slices.Equal(ing.Status, want) {
		return nil
	}
	if err := patchLoadBalancer(ctx, w.networking, "ingresses", ing.Name, want, false); err != nil {
		return fmt.Errorf("write status of Ingress %v: %w", ing.Name, err)
	}
	w.log.Info("wrote status", "object", "Ingress "+ing.Name.String(), "addresses", want)
	return nil
}

// ingressEntry is one entry of status.loadBalancer.ingress as both kinds write it.
type ingressEntry struct {
	IP       string `json:"ip,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	IPMode   string `json:"ipMode,omitempty"` // Services only (KEP-1860)
}

// patchLoadBalancer replaces status.loadBalancer. The list is replaced as a
// whole (RFC 7396), so what somebody else wrote there goes; a deleted object is
// no error.
func patchLoadBalancer(ctx context.Context, client rest.Interface, resource string, name model.Name, want []model.LoadBalancerIngress, ipMode bool) error {
	entries := []ingressEntry{}
	for _, in := range want {
		e := ingressEntry{Hostname: in.Hostname}
		if in.IP.IsValid() {
			e.IP = in.IP.String()
			if ipMode {
				e.IPMode = string(corev1.LoadBalancerIPModeVIP)
			}
		}
		entries = append(entries, e)
	}
	body, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": entries}}})
	if err != nil {
		return err
	}
	err = client.Patch(types.MergePatchType).Namespace(name.Namespace).Resource(resource).Name(name.Name).SubResource("status").Body(body).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func sorted[V any](m map[model.Name]V) []model.Name {
	names := make([]model.Name, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, model.Name.Compare)
	return names
}

// apiVersion of the kinds that Events are written about.
func apiVersion(k model.Kind) string {
	switch k {
	case model.KindIngress, model.KindIngressClass, model.KindNetworkPolicy:
		return networkingv1.SchemeGroupVersion.String()
	}
	return corev1.SchemeGroupVersion.String()
}

// truncate cuts s to the length that the API accepts for an Event's message.
func truncate(s string) string {
	const max = 1024
	if len(s) <= max {
		return s
	}
	return strings.ToValidUTF8(s[:max-3], "") + "..."
}
