package cluster

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/cluster/kubeconfig"
	"github.com/fairway-net/fairway/internal/cluster/pki"
)

// Directories inside a node.
const (
	etcKubernetes = "/etc/kubernetes"
	nodePKI       = etcKubernetes + "/pki"
)

// authorities are the two roots of trust of a cluster: one for its members, and
// one for requests that the API server forwards to extension servers.
type authorities struct {
	cluster, front *pki.Authority
	tokens         pki.Pair // signs service account tokens
}

// loadAuthorities reads the cluster's authorities, making what is missing:
// they outlive restarts, so that tokens and kubeconfigs stay valid.
func (s *State) loadAuthorities(now time.Time) (*authorities, error) {
	if err := os.MkdirAll(s.path("pki"), 0o700); err != nil {
		return nil, err
	}
	a := new(authorities)
	for name, into := range map[string]**pki.Authority{"ca": &a.cluster, "front-proxy-ca": &a.front} {
		ca, err := pki.LoadAuthority(s.pki(name))
		if errors.Is(err, fs.ErrNotExist) {
			if ca, err = pki.NewAuthority("fairway-"+s.Name+"-"+name, now); err == nil {
				err = ca.Write(s.pki(name))
			}
		}
		if err != nil {
			return nil, err
		}
		*into = ca
	}
	var err error
	a.tokens, err = pki.LoadKey(s.pki("sa"))
	if errors.Is(err, fs.ErrNotExist) {
		if a.tokens, err = pki.NewKey(); err == nil {
			err = a.tokens.WriteKey(s.pki("sa"))
		}
	}
	return a, err
}

// user is a member of the cluster that talks to the API server.
type user struct {
	file   string // its kubeconfig, in a node's /etc/kubernetes
	name   string
	groups []string
}

// writeIdentities issues every certificate of every node, and the
// administrator's kubeconfig.
func (s *State) writeIdentities(a *authorities, now time.Time) error {
	w := &tasks{}
	for i, n := range s.Config.Nodes {
		root := s.nodeRoot(n.Name)
		ips := s.plan.NodeIPs(i)
		w.do(func() error { return s.writeNodeIdentities(a, root, n.Name, ips, now) })
		if i == 0 {
			w.do(func() error { return s.writeControlPlaneIdentities(a, root, n.Name, ips, now) })
		}
	}
	w.do(func() error {
		admin, err := a.cluster.Issue(pki.Identity{Name: "admin", Groups: []string{"system:masters"}, Client: true}, now)
		if err != nil {
			return err
		}
		data, err := kubeconfig.Render(s.access(a.cluster.Cert, admin))
		if err != nil {
			return err
		}
		if err := admin.Write(s.pki("admin")); err != nil {
			return err
		}
		return replaceFile(s.kubeconfig(), data, 0o600)
	})
	return w.wait()
}

func (s *State) access(ca []byte, p pki.Pair) kubeconfig.Access {
	return kubeconfig.Access{Context: s.context(), Server: s.plan.APIServer(), CA: ca, Cert: p.Cert, Key: p.Key}
}

// writeNodeIdentities writes what every node has: its kubelet's two
// certificates.
func (s *State) writeNodeIdentities(a *authorities, root, name string, ips []netip.Addr, now time.Time) error {
	dir := filepath.Join(root, nodePKI)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), a.cluster.Cert, 0o644); err != nil {
		return err
	}
	serving, err := a.cluster.Issue(pki.Identity{Name: "system:node:" + name, Groups: []string{"system:nodes"}, Server: true, DNS: []string{name}, IPs: ips}, now)
	if err != nil {
		return err
	}
	if err := serving.Write(filepath.Join(dir, "kubelet")); err != nil {
		return err
	}
	return s.writeUser(a, root, user{"kubelet", "system:node:" + name, []string{"system:nodes"}}, now)
}

// writeControlPlaneIdentities writes what only the first node has.
func (s *State) writeControlPlaneIdentities(a *authorities, root, name string, ips []netip.Addr, now time.Time) error {
	dir := func(file string) string { return filepath.Join(root, nodePKI, file) }
	served := append([]netip.Addr{s.plan.APIService(), netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, ips...)
	for _, u := range []user{
		{"kube-controller-manager", "system:kube-controller-manager", nil},
		{"kube-scheduler", "system:kube-scheduler", nil},
	} {
		if err := s.writeUser(a, root, u, now); err != nil {
			return err
		}
	}
	for file, id := range map[string]struct {
		by *pki.Authority
		id pki.Identity
	}{
		"apiserver": {a.cluster, pki.Identity{Name: "kube-apiserver", Server: true,
			DNS: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + s.plan.Domain, "localhost", name},
			IPs: served}},
		"apiserver-kubelet-client": {a.cluster, pki.Identity{Name: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}, Client: true}},
		"front-proxy-client":       {a.front, pki.Identity{Name: "front-proxy-client", Client: true}},
	} {
		pair, err := id.by.Issue(id.id, now)
		if err != nil {
			return err
		}
		if err := pair.Write(dir(file)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(dir("front-proxy-ca.crt"), a.front.Cert, 0o644); err != nil {
		return err
	}
	// kube-controller-manager signs certificate requests with it.
	if err := a.cluster.Write(dir("ca")); err != nil {
		return err
	}
	return a.tokens.WriteKey(dir("sa"))
}

// writeUser issues a client certificate, as files and as a kubeconfig.
func (s *State) writeUser(a *authorities, root string, u user, now time.Time) error {
	pair, err := a.cluster.Issue(pki.Identity{Name: u.name, Groups: u.groups, Client: true}, now)
	if err != nil {
		return err
	}
	if err := pair.Write(filepath.Join(root, nodePKI, u.file+"-client")); err != nil {
		return err
	}
	data, err := kubeconfig.Render(s.access(a.cluster.Cert, pair))
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(root, etcKubernetes, u.file+".kubeconfig"), data, 0o600)
}

// tasks run at the same time; wait returns their errors.
type tasks struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

func (w *tasks) do(f func() error) {
	w.wg.Go(func() {
		if err := f(); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.errs = append(w.errs, err)
		}
	})
}

func (w *tasks) wait() error {
	w.wg.Wait()
	return errors.Join(w.errs...)
}
