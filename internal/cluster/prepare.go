package cluster

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/fairway-net/fairway/internal/cluster/node"
	"github.com/fairway-net/fairway/internal/cluster/underlay"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
)

//go:embed containerd.toml
var containerdTemplate string

// prepare writes everything that the nodes read when they start. It keeps what
// they wrote themselves: etcd's data, images, volumes.
func (s *State) prepare(tools string, now time.Time) error {
	a, err := s.loadAuthorities(now)
	if err != nil {
		return fmt.Errorf("load authorities: %w", err)
	}
	for i, n := range s.Config.Nodes {
		if err := s.prepareNode(i, n, tools); err != nil {
			return fmt.Errorf("prepare node %s: %w", n.Name, err)
		}
	}
	if err := s.writeIdentities(a, now); err != nil {
		return fmt.Errorf("issue certificates: %w", err)
	}
	return nil
}

// prepareNode writes one node's root directory and its Spec.
func (s *State) prepareNode(i int, n NodeConfig, tools string) error {
	root := s.nodeRoot(n.Name)
	for dir, mode := range map[string]fs.FileMode{
		"/etc/kubernetes": 0o755, registries + "/_default": 0o755, "/etc/cni/net.d": 0o755, "/opt/cni/bin": 0o755,
		"/root": 0o700, "/home": 0o755, "/mnt": 0o755, "/srv": 0o755,
		"/var/lib/kubelet": 0o750, "/var/lib/containerd": 0o711, "/var/lib/fairway": 0o755, "/var/lib/etcd": 0o700,
		loadedDir:       0o755,
		"/var/log/pods": 0o755, "/var/log/containers": 0o755, node.LogDir: 0o755,
		"/tmp": 0o777 | fs.ModeSticky, "/var/tmp": 0o777 | fs.ModeSticky,
	} {
		path := filepath.Join(root, dir)
		if err := os.MkdirAll(path, mode.Perm()); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil { // the umask does not apply
			return err
		}
	}
	files, err := s.nodeFiles(i, n)
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := replaceFile(filepath.Join(root, name), data, 0o644); err != nil {
			return err
		}
	}
	if err := trimLogs(filepath.Join(root, node.LogDir)); err != nil {
		return err
	}
	spec := &node.Spec{
		Name:   n.Name,
		Root:   root,
		Tools:  tools,
		Images: s.images(),
		Link: node.Link{
			Name:        "eth0",
			Addrs:       s.plan.Node(i),
			Gateways:    s.gateways(),
			Unreachable: append(s.plan.closed(), s.plan.LoadBalancers...),
		},
		Components: s.components(i),
	}
	if err := os.MkdirAll(filepath.Dir(s.nodeSpec(n.Name)), 0o755); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(root, node.StatFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return spec.Write(s.nodeSpec(n.Name))
}

// gateways are the machine's addresses as far as it forwards for nodes.
func (s *State) gateways() []netip.Addr {
	var out []netip.Addr
	for _, p := range s.plan.Machine() {
		if s.Config.Egress == EgressNAT && (p.Addr().Is4() || underlay.Forwards6()) {
			out = append(out, p.Addr())
		}
	}
	return out
}

// trimLogs sets large logs of earlier runs aside, one generation of each.
func trimLogs(dir string) error {
	const large = 8 << 20
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if info.Size() > large {
			if err := os.Rename(file, file+".old"); err != nil {
				return err
			}
		}
	}
	return nil
}

// nodeFiles returns the content of the i-th node's configuration files, by
// their path in the node.
func (s *State) nodeFiles(i int, n NodeConfig) (map[string][]byte, error) {
	kubelet, err := yaml.Marshal(s.kubeletConfig(n.Name))
	if err != nil {
		return nil, err
	}
	containerd, err := containerdConfig()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		etcKubernetes + "/kubelet.yaml":     kubelet,
		"/etc/containerd/config.toml":       containerd,
		registries + "/_default/hosts.toml": s.registryHosts(),
		"/etc/hosts":                        s.hosts(),
		"/etc/hostname":                     []byte(n.Name + "\n"),
		"/etc/resolv.conf":                  s.resolvConf(),
		// kubelet reports it; 32 hexadecimal digits, the same after a restart.
		"/etc/machine-id": fmt.Appendf(nil, "%032x\n", s.Created.UnixNano()+int64(i)),
	}
	for _, name := range []string{"passwd", "group", "nsswitch.conf", "protocols", "services", "os-release", "ld.so.cache", "ld.so.conf", "localtime"} {
		data, err := os.ReadFile("/etc/" + name)
		switch {
		case err == nil:
			files["/etc/"+name] = data
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return files, nil
}

func (s *State) hosts() []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for i, n := range s.Config.Nodes {
		for _, ip := range s.plan.NodeIPs(i) {
			fmt.Fprintf(&b, "%s %s\n", ip, n.Name)
		}
	}
	return b.Bytes()
}

// resolvConf names the resolvers that a node asks about the rest of the world.
// Without egress there is none, and an empty list makes that an immediate
// answer instead of a timeout.
func (s *State) resolvConf() []byte {
	if s.Config.Egress != EgressNAT {
		return []byte("# no nameserver: the cluster runs without egress\n")
	}
	gateways := s.gateways()
	reached := func(resolver string) bool {
		// A resolver on the machine's loopback is not there for a node.
		ip, err := netip.ParseAddr(resolver)
		return err == nil && !ip.IsLoopback() && slices.ContainsFunc(gateways, func(gw netip.Addr) bool { return gw.Is4() == ip.Is4() })
	}
	// systemd-resolved, which listens on the loopback, keeps the real list elsewhere.
	for _, file := range []string{"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var keep []string
		for _, line := range strings.Split(string(data), "\n") {
			f := strings.Fields(line)
			if len(f) >= 2 && f[0] == "nameserver" && reached(f[1]) {
				keep = append(keep, line)
			}
		}
		if len(keep) > 0 {
			return []byte(strings.Join(keep, "\n") + "\n")
		}
	}
	return []byte("# no nameserver: no node reaches any of the machine's\n")
}

// kubeletConfig is the KubeletConfiguration of one node.
// https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
func (s *State) kubeletConfig(name string) map[string]any {
	config := map[string]any{
		"apiVersion":               "kubelet.config.k8s.io/v1beta1",
		"kind":                     "KubeletConfiguration",
		"authentication":           map[string]any{"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true}, "x509": map[string]any{"clientCAFile": pkiFile("ca.crt")}},
		"authorization":            map[string]any{"mode": "Webhook"},
		"tlsCertFile":              pkiFile("kubelet.crt"),
		"tlsPrivateKeyFile":        pkiFile("kubelet.key"),
		"readOnlyPort":             0,
		"address":                  s.plan.anyAddr(),
		"clusterDNS":               []string{s.plan.DNS().String()},
		"clusterDomain":            s.plan.Domain,
		"resolvConf":               "/etc/resolv.conf",
		"containerRuntimeEndpoint": "unix://" + containerdSocket,

		"cgroupDriver":           "cgroupfs",
		"cgroupRoot":             "/" + s.nodeCgroup(name),
		"enforceNodeAllocatable": []string{}, // all nodes have the whole machine
		"failCgroupV1":           false,
		"failSwapOn":             false,
		"serializeImagePulls":    false,
		// Images cannot be pulled again, and a full disk is the machine's
		// matter: nothing is collected or evicted for its sake.
		"imageGCHighThresholdPercent": 100,
		"evictionHard":                map[string]string{"memory.available": "50Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
		// The defaults spare an API server that a hundred nodes share.
		"kubeAPIQPS":     200,
		"kubeAPIBurst":   400,
		"eventRecordQPS": 100,
		"eventBurst":     200,
		"maxPods":        200,
		// A container that was killed five times would wait five minutes: the
		// default spares images and databases of strangers. Here a person is
		// watching. 1s to 300s (KEP-4603, beta since 1.35).
		"crashLoopBackOff": map[string]any{"maxContainerRestartPeriod": "3s"},

		"volumePluginDir": volumePlugins,
	}
	if len(s.Config.Features) > 0 {
		config["featureGates"] = s.Config.Features
	}
	return config
}

// containerdConfig renders containerd.toml.
func containerdConfig() ([]byte, error) {
	t, err := template.New("containerd.toml").Parse(containerdTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Pause":         pauseImage,
		"Registries":    registries,
		"RestrictOOM":   !mayLowerOOMScore(),
		"ShimDirectory": node.ToolDir,
	})
	return b.Bytes(), err
}

// mayLowerOOMScore reports whether this process has CAP_SYS_RESOURCE. Without it
// runc cannot give a container a lower oom_score_adj than its own and dies.
func mayLowerOOMScore() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}
