package file

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/fairway-net/fairway/internal/source/kube"
)

// decode reads all documents of a file into model values. Kinds that Fairway has no use for are
// passed over; a kind that it knows must have no field that it does not know.
func decode(b []byte) ([]any, error) {
	var out []any
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(b)))
	for n := 1; ; n++ {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err == nil {
			out, err = decodeDocument(out, doc)
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
	}
}

func decodeDocument(out []any, doc []byte) ([]any, error) {
	var head struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Items             []json.RawMessage `json:"items"`
	}
	if err := yaml.Unmarshal(doc, &head); err != nil {
		return nil, err
	}
	if head.Items != nil { // List, and the typed lists
		for i, item := range head.Items {
			var err error
			if out, err = decodeDocument(out, item); err != nil {
				return nil, fmt.Errorf("items[%d]: %w", i, err)
			}
		}
		return out, nil
	}
	o := newObject(head.APIVersion, head.Kind)
	if o == nil {
		return out, nil
	}
	if err := yaml.UnmarshalStrict(doc, o); err != nil {
		return nil, fmt.Errorf("%s %s: %w", head.Kind, head.Name, err)
	}
	if head.Name == "" {
		return nil, fmt.Errorf("%s without metadata.name", head.Kind)
	}
	if m := o.(metav1.Object); head.Namespace == "" && head.Kind != "Namespace" && head.Kind != "Node" && head.Kind != "IngressClass" {
		m.SetNamespace("default") // as kubectl does
	}
	if secret, ok := o.(*corev1.Secret); ok {
		unfold(secret)
	}
	if _, v := kube.Convert(o); v != nil {
		out = append(out, v)
	}
	return out, nil
}

// unfold makes data of stringData, as an API server does when it is given a Secret.
func unfold(s *corev1.Secret) {
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, text := range s.StringData {
		s.Data[key] = []byte(text)
	}
}

// newObject returns an empty object of a kind that has a table in the state.
func newObject(apiVersion, kind string) any {
	switch apiVersion + " " + kind {
	case "v1 Service":
		return &corev1.Service{}
	case "v1 Namespace":
		return &corev1.Namespace{}
	case "v1 Pod":
		return &corev1.Pod{}
	case "v1 Node":
		return &corev1.Node{}
	case "v1 Secret":
		return &corev1.Secret{}
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}
	case "discovery.k8s.io/v1 EndpointSlice":
		return &discoveryv1.EndpointSlice{}
	case "networking.k8s.io/v1 NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "networking.k8s.io/v1 Ingress":
		return &networkingv1.Ingress{}
	case "networking.k8s.io/v1 IngressClass":
		return &networkingv1.IngressClass{}
	}
	return nil
}
