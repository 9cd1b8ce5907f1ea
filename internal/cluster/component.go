package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/fairway-net/fairway/internal/cluster/node"
)

const (
	kubeTool         = "fairway-kube"
	containerdSocket = "/run/containerd/containerd.sock"
	volumePlugins    = "/var/lib/kubelet/volume-plugins" // the default is below /usr, which nodes cannot write
	// etcd is reached by sockets that only root can open: no port, hence
	// nobody else, and none of the API server's hundred TLS handshakes.
	etcdDir    = "/run/etcd"
	etcdClient = etcdDir + "/client.sock"
	etcdPeer   = etcdDir + "/peer.sock"
)

// components lists the processes of the i-th node, in no order: what each waits
// for is in its After.
func (s *State) components(i int) []node.Component {
	n := s.Config.Nodes[i]
	out := []node.Component{s.containerd(), s.importer(), s.mirror(), s.kubelet(i, n)}
	if i == 0 {
		out = append(out, s.etcd(n), s.apiserver(i), s.controllerManager(), s.scheduler())
	}
	return out
}

// lean is the environment of programs with large live heaps, of which Go allows
// as much again in garbage. Below its default of 100, GOGC trades a little
// processor time for memory: the API server's peak falls by 40 MB, and its start
// takes no longer.
func lean() []string { return []string{"GOGC=50"} }

func pkiFile(name string) string        { return nodePKI + "/" + name }
func kubeconfigFile(name string) string { return etcKubernetes + "/" + name + ".kubeconfig" }

// apiReady waits until the API server answers this user.
func (s *State) apiReady(user string) node.Wait {
	return node.Wait{URL: s.plan.APIServer() + "/readyz", CA: pkiFile("ca.crt"), Cert: pkiFile(user + "-client.crt"), Key: pkiFile(user + "-client.key")}
}

func (s *State) containerd() node.Component {
	return node.Component{
		Name: "containerd",
		Args: []string{kubeTool, "containerd", "--config", "/etc/containerd/config.toml"},
		Env:  lean(),
	}
}

// importer gives the node its builtin images before kubelet can ask for them:
// there is no registry to fall back on.
func (s *State) importer() node.Component {
	return node.Component{
		Name:  "images",
		Once:  true,
		Args:  []string{kubeTool, "ctr", "--namespace", "k8s.io", "images", "import", "--local", node.ImageDir + "/builtin.tar"},
		Env:   []string{"GOGC=off"}, // over before there is garbage to speak of
		After: []node.Wait{{Unix: containerdSocket}},
	}
}

func (s *State) kubelet(i int, n NodeConfig) node.Component {
	return node.Component{
		Name: "kubelet",
		Args: []string{kubeTool, "kubelet",
			"--config=" + etcKubernetes + "/kubelet.yaml",
			"--kubeconfig=" + kubeconfigFile("kubelet"),
			"--hostname-override=" + n.Name,
			"--node-ip=" + joinAddrs(s.plan.NodeIPs(i)),
		},
		Env: lean(),
		After: []node.Wait{
			{Done: "images"},
			{TCP: mirrorAddr},
			{TCP: netip.AddrPortFrom(s.plan.NodeIP(0), apiServerPort).String()},
		},
	}
}

func (s *State) etcd(n NodeConfig) node.Component {
	return node.Component{
		Name: "etcd",
		Dir:  etcdDir,
		Args: []string{kubeTool, "etcd",
			"--name=" + n.Name,
			"--data-dir=/var/lib/etcd",
			"--listen-client-urls=unix://" + etcdClient, "--listen-peer-urls=unix://" + etcdPeer,
			// It has no peers; what it would tell them must look like a port.
			"--advertise-client-urls=http://localhost:2379", "--initial-advertise-peer-urls=http://localhost:2380",
			"--initial-cluster=" + n.Name + "=http://localhost:2380",
			// A member alone elects itself; it need not wait a second for it.
			"--heartbeat-interval=20", "--election-timeout=200",
			// Without fsync the data survive every crash of processes, not one
			// of the machine: right for a cluster that `up` makes in seconds.
			"--unsafe-no-fsync",
			"--snapshot-count=5000",
			"--log-level=warn",
		},
		Env: lean(),
	}
}

func (s *State) apiserver(i int) node.Component {
	p := s.plan
	args := []string{kubeTool, "kube-apiserver",
		"--advertise-address=" + p.NodeIP(i).String(),
		"--bind-address=" + s.plan.anyAddr(),
		fmt.Sprintf("--secure-port=%d", apiServerPort),
		"--service-cluster-ip-range=" + joinPrefixes(p.Services),
		"--etcd-servers=unix://" + etcdClient,
		"--tls-cert-file=" + pkiFile("apiserver.crt"), "--tls-private-key-file=" + pkiFile("apiserver.key"),
		"--client-ca-file=" + pkiFile("ca.crt"),
		"--anonymous-auth=false",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc." + p.Domain,
		"--service-account-key-file=" + pkiFile("sa.pub"), "--service-account-signing-key-file=" + pkiFile("sa.key"),
		"--kubelet-certificate-authority=" + pkiFile("ca.crt"),
		"--kubelet-client-certificate=" + pkiFile("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + pkiFile("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + pkiFile("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + pkiFile("front-proxy-client.crt"), "--proxy-client-key-file=" + pkiFile("front-proxy-client.key"),
		"--allow-privileged=true",
		"--profiling=false",
	}
	if len(s.Config.Features) > 0 {
		args = append(args, "--feature-gates="+featureGates(s.Config.Features))
	}
	if len(s.Config.APIs) > 0 {
		args = append(args, "--runtime-config="+joinMap(s.Config.APIs))
	}
	return node.Component{
		Name:  "kube-apiserver",
		Args:  args,
		Env:   lean(),
		After: []node.Wait{{Unix: etcdClient}},
	}
}

// clientFlags are those that controller manager and scheduler share: where the
// API server is, and whom their own port trusts.
func clientFlags(name string) []string {
	return []string{
		"--kubeconfig=" + kubeconfigFile(name),
		"--authentication-kubeconfig=" + kubeconfigFile(name),
		"--authorization-kubeconfig=" + kubeconfigFile(name),
		"--client-ca-file=" + pkiFile("ca.crt"),
		"--requestheader-client-ca-file=" + pkiFile("front-proxy-ca.crt"),
		"--bind-address=127.0.0.1",
		"--leader-elect=false", // there is one
		"--profiling=false",
		"--kube-api-qps=200", "--kube-api-burst=400",
	}
}

func (s *State) controllerManager() node.Component {
	const name = "kube-controller-manager"
	args := append([]string{kubeTool, name}, clientFlags(name)...)
	args = append(args,
		"--use-service-account-credentials=true",
		"--allocate-node-cidrs=true",
		"--cluster-cidr="+joinPrefixes(s.plan.Pods),
		"--service-cluster-ip-range="+joinPrefixes(s.plan.Services),
		"--root-ca-file="+pkiFile("ca.crt"),
		"--cluster-signing-cert-file="+pkiFile("ca.crt"), "--cluster-signing-key-file="+pkiFile("ca.key"),
		"--service-account-private-key-file="+pkiFile("sa.key"),
		"--flex-volume-plugin-dir="+volumePlugins,
	)
	for _, pods := range s.plan.Pods {
		family := IPv4
		if pods.Addr().Is6() {
			family = IPv6
		}
		args = append(args, fmt.Sprintf("--node-cidr-mask-size-%s=%d", family, nodeMask(pods)))
	}
	if len(s.Config.Features) > 0 {
		args = append(args, "--feature-gates="+featureGates(s.Config.Features))
	}
	return node.Component{Name: name, Args: args, Env: lean(), After: []node.Wait{s.apiReady(name)}}
}

func (s *State) scheduler() node.Component {
	const name = "kube-scheduler"
	args := append([]string{kubeTool, name}, clientFlags(name)...)
	if len(s.Config.Features) > 0 {
		args = append(args, "--feature-gates="+featureGates(s.Config.Features))
	}
	return node.Component{Name: name, Args: args, Env: lean(), After: []node.Wait{s.apiReady(name)}}
}

func featureGates(m map[string]bool) string {
	text := map[string]string{}
	for k, v := range m {
		text[k] = fmt.Sprint(v)
	}
	return joinMap(text)
}

// joinMap writes a map as k=v,k=v in a stable order.
func joinMap(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return strings.Join(out, ",")
}

func joinPrefixes(list []netip.Prefix) string {
	var out []string
	for p := range slices.Values(list) {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}

func joinAddrs(list []netip.Addr) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, ",")
}
