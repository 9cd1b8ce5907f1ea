package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-net/fairway/internal/version"
)

// Connect returns the client configuration of this process: the file at
// kubeconfig if it is not empty, else the pod's service account. apiServer, if
// not empty, replaces the server's URL: the agent starts before the Service
// "kubernetes" has an address that works.
func Connect(kubeconfig, apiServer string) (*rest.Config, error) {
	var c *rest.Config
	var err error
	if kubeconfig != "" {
		c, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	} else {
		c, err = inCluster(apiServer)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	if apiServer != "" {
		c.Host = apiServer
	}
	c.UserAgent = "fairway/" + version.Version
	c.QPS, c.Burst = 100, 200 // the server's priority and fairness is the real limit
	return c, nil
}

// ConnectAs returns the configuration of a person: a context of the kubeconfig, that
// of the environment or of the home directory if none is given. "" is its current one.
// Several files, as $KUBECONFIG may list them, are merged as kubectl merges them.
// Without any file it is the pod's service account.
func ConnectAs(kubeconfig, kubeContext string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if files := filepath.SplitList(kubeconfig); len(files) > 1 {
		rules.Precedence = files
	} else {
		rules.ExplicitPath = kubeconfig
	}
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: kubeContext}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	c.UserAgent = "fairway/" + version.Version
	c.QPS, c.Burst = 100, 200
	return c, nil
}

// Ask fails if nobody answers at the API server, or lets nobody in.
func Ask(ctx context.Context, config *rest.Config) error {
	client, err := NewClients(config).ForGroup(corev1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	if err := client.Get().AbsPath("/version").Do(ctx).Error(); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// inCluster is rest.InClusterConfig, but does without the Service's environment
// variables where apiServer is known.
func inCluster(apiServer string) (*rest.Config, error) {
	c, err := rest.InClusterConfig()
	if !errors.Is(err, rest.ErrNotInCluster) || apiServer == "" {
		return c, err
	}
	const dir = "/var/run/secrets/kubernetes.io/serviceaccount/"
	if _, err := os.Stat(dir + "token"); err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            apiServer,
		BearerTokenFile: dir + "token",
		TLSClientConfig: rest.TLSClientConfig{CAFile: dir + "ca.crt"},
	}, nil
}

// newScheme knows just the API groups that Fairway uses: all of client-go's
// would cost each process 10 MB.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err) // a programming error: the same type registered twice
		}
	}
	return s
}

// Clients makes one REST client per API group over one connection pool. Not
// for use by several goroutines at once; the clients it returns are.
type Clients struct {
	config *rest.Config
	codecs serializer.CodecFactory
	byGV   map[schema.GroupVersion]*rest.RESTClient
}

// NewClients returns the clients of one API server.
func NewClients(config *rest.Config) *Clients {
	return &Clients{config: config, codecs: serializer.NewCodecFactory(newScheme()), byGV: map[schema.GroupVersion]*rest.RESTClient{}}
}

// ForGroup returns the client of an API group and version: core, discovery,
// networking and coordination are known.
func (c *Clients) ForGroup(gv schema.GroupVersion) (*rest.RESTClient, error) {
	if rc := c.byGV[gv]; rc != nil {
		return rc, nil
	}
	cfg := rest.CopyConfig(c.config)
	cfg.GroupVersion = &gv
	cfg.APIPath = "/apis"
	if gv.Group == "" {
		cfg.APIPath = "/api"
	}
	cfg.NegotiatedSerializer = c.codecs.WithoutConversion()
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	rc, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client for %v: %w", gv, err)
	}
	c.byGV[gv] = rc
	return rc, nil
}
