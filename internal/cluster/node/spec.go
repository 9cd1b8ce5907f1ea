// Package node is one node of the embedded cluster: a set of Linux namespaces
// (mount, network, PID, UTS, IPC) with a root directory of its own, and the
// init process in it that starts and restarts the node's components. It is a
// machine in the sense that kubelet needs one, without a container tool.
//
// It knows nothing of Kubernetes: which components run, with which arguments
// and after what, is in its Spec.
//
// Invariants: all mounts are made in the node's own mount namespace, after its
// propagation was cut, so they end with its init and never show on the
// machine; and the machine's directories that a node sees are read-only,
// except /dev and the cgroup hierarchies.
package node

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
)

// Paths inside a node.
const (
	ToolDir  = "/opt/fairway/bin"        // the executables
	ImageDir = "/var/lib/fairway/images" // archives to import at start
	LogDir   = "/var/log/fairway"        // COMPONENT.log
	StatFile = "/var/lib/fairway/components.json"
)

// Spec describes one node; it is passed to the node's init as a file.
type Spec struct {
	Name       string
	Root       string // directory of the machine that becomes the node's /
	Tools      string // directory of the machine that holds the executables
	Images     string // directory of the machine that holds image archives
	Link       Link
	Components []Component
}

// Link is the node's network interface, which the supervisor has put into the
// node's network namespace under this name.
type Link struct {
	Name        string
	Addrs       []netip.Prefix // one of each family
	Gateways    []netip.Addr   // at most one of each family; without, the family has no default route
	Unreachable []netip.Prefix // destinations that must never leave by the default route
}

// Component is one process of a node.
type Component struct {
	Name  string
	Args  []string // Args[0] is looked up in ToolDir
	Env   []string // added to PATH and HOME
	Dir   string   // made before it starts, for root only: where its sockets are
	After []Wait
	Once  bool // runs to its end, is repeated only if it fails
}

// Wait is something that must hold before a component starts.
type Wait struct {
	Done string // the name of a Once component of this node that must have ended well
	Unix string // a socket that must accept connections
	TCP  string // an address that must accept connections
	URL  string // an https URL that must answer 200 …
	CA   string // … with a certificate of this authority (file)
	Cert string // … to this client (files)
	Key  string
}

// Stat is what is known about a component, as StatFile holds it.
type Stat struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"` // in the node's PID namespace; 0: not running
	Starts int    `json:"starts"`
	Done   bool   `json:"done,omitempty"` // a Once component that ended well
	Exit   string `json:"exit,omitempty"` // how it ended the last time
}

// ReadSpec reads a Spec that Write wrote.
func ReadSpec(path string) (*Spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := new(Spec)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read node spec %s: %w", path, err)
	}
	return s, nil
}

// Write stores the Spec at path.
func (s *Spec) Write(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
