package kube

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairway-net/fairway/internal/model"
)

// Programs returns what the containers of Deployments and DaemonSets that have a label, as
// in "app=web", are started with. Who may not list them gets none.
func Programs(ctx context.Context, config *rest.Config, label string) (out []model.Program, err error) {
	client, err := NewClients(config).ForGroup(corev1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	for _, kind := range []struct{ name, path string }{{"Deployment", "deployments"}, {"DaemonSet", "daemonsets"}} {
		b, err := client.Get().AbsPath("/apis/apps/v1", kind.path).Param("labelSelector", label).SetHeader("Accept", "application/json").Do(ctx).Raw()
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", kind.path, err)
		}
		var list struct {
			Items []struct {
				metav1.ObjectMeta `json:"metadata"`
				Spec              struct{ Template corev1.PodTemplateSpec }
			}
		}
		if err := json.Unmarshal(b, &list); err != nil {
			return nil, fmt.Errorf("list %s: %w", kind.path, err)
		}
		for _, w := range list.Items {
			for i, c := range w.Spec.Template.Spec.Containers {
				out = append(out, model.NewProgram(kind.name, model.Name{Namespace: w.Namespace, Name: w.Name}, i, c.Image, c.Command, c.Args))
			}
		}
	}
	return out, nil
}
