package cni

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The commands of the CNI specification 1.1.
const (
	Add     = "ADD"
	Del     = "DEL"
	Check   = "CHECK"
	GC      = "GC"
	Status  = "STATUS"
	Version = "VERSION"
)

// versions are those whose configuration and results we speak. containerd asks
// for the loopback device in 0.3.1.
func versions() []string { return []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} }

// LoopbackType is the plugin type under which containerd asks for the loopback
// device of a pod.
const LoopbackType = "loopback"

// LatestVersion is the one that our configuration file asks for.
const LatestVersion = "1.1.0"

// Config is what Fairway reads of the network configuration on stdin.
type Config struct {
	CNIVersion string       `json:"cniVersion"`
	Name       string       `json:"name"`
	Type       string       `json:"type"`
	Valid      []Attachment `json:"cni.dev/valid-attachments,omitempty"` // of GC
}

// Attachment names one interface of one container.
type Attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// Result is the success of ADD.
type Result struct {
	CNIVersion string      `json:"cniVersion"`
	Interfaces []Interface `json:"interfaces,omitempty"`
	IPs        []IP        `json:"ips,omitempty"`
	Routes     []Route     `json:"routes,omitempty"`
	DNS        struct{}    `json:"dns"`
}

// Interface is one device that ADD made; Sandbox is the path of its network
// namespace, "" for the node's.
type Interface struct {
	Name    string `json:"name"`
	Mac     string `json:"mac,omitempty"`
	MTU     int    `json:"mtu,omitempty"`
	Sandbox string `json:"sandbox,omitempty"`
}

// adapt makes r a result of version, one of versions: before 1.0.0 an address
// said to which family it belongs.
func (r *Result) adapt(version string) {
	r.CNIVersion = version
	if !strings.HasPrefix(version, "0.") {
		return
	}
	for i := range r.IPs {
		r.IPs[i].Version = "4"
		if strings.Contains(r.IPs[i].Address, ":") {
			r.IPs[i].Version = "6"
		}
	}
}

// IP is an address of Result.Interfaces[Interface].
type IP struct {
	Version   string `json:"version,omitempty"` // see adapt
	Address   string `json:"address"`           // with prefix length
	Gateway   string `json:"gateway,omitempty"`
	Interface int    `json:"interface"`
}

// Route is a route inside the pod.
type Route struct {
	Dst string `json:"dst"`
	GW  string `json:"gw,omitempty"`
}

// The error codes of the specification that Fairway uses. Codes from 100 are
// a plugin's own.
const (
	CodeVersion      = 1
	CodeUnknown      = 3 // container or its namespace is unknown
	CodeEnvironment  = 4
	CodeIO           = 5
	CodeDecode       = 6
	CodeConfig       = 7
	CodeTryLater     = 11
	CodeNotAvailable = 50 // STATUS: cannot serve ADD
	CodeInternal     = 100
)

// Error is the failure of any command.
type Error struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + ": " + e.Details
}

// Errorf makes an Error without details.
func Errorf(code uint, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// Request is one execution of the plugin, as the agent sees it. The pod's
// network namespace travels beside it as a descriptor.
type Request struct {
	Command     string          `json:"command"`
	ContainerID string          `json:"containerID,omitempty"`
	Netns       string          `json:"netns,omitempty"` // the path that the runtime used; only to repeat in the result
	IfName      string          `json:"ifName,omitempty"`
	Args        string          `json:"args,omitempty"` // CNI_ARGS: "K=V;K=V"
	Config      json.RawMessage `json:"config,omitempty"`
}

// Arg returns the value of one key of Args, "" if it is missing.
func (r *Request) Arg(key string) string {
	for pair := range strings.SplitSeq(r.Args, ";") {
		if k, v, ok := strings.Cut(pair, "="); ok && k == key {
			return v
		}
	}
	return ""
}

// Response is the agent's answer: Error, or a Result where the command has one.
type Response struct {
	Result *Result `json:"result,omitempty"`
	Error  *Error  `json:"error,omitempty"`
}
