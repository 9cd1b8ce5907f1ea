package cni

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"time"
)

// Plugin is one execution of the plugin with its surroundings; tests give their own.
type Plugin struct {
	Getenv func(string) string
	Stdin  io.Reader
	Stdout io.Writer
	Socket string
	// Patience is how long ADD waits for an agent that does not answer: it is
	// being started again most likely, and the runtime would come back only
	// after ten seconds.
	Patience time.Duration
}

// OS is the plugin as the runtime executes it.
func OS() Plugin {
	return Plugin{Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Socket: Socket, Patience: 5 * time.Second}
}

// Run does what CNI_COMMAND says, prints the result or the error as the
// specification wants it, and returns the exit code.
func (p Plugin) Run() int {
	config, result, err := p.run()
	if err == nil {
		err = p.print(result)
	}
	if err == nil {
		return 0
	}
	var e *Error
	if !errors.As(err, &e) {
		e = Errorf(CodeInternal, "%v", err)
	}
	e.CNIVersion = config.CNIVersion
	if e.CNIVersion == "" {
		e.CNIVersion = LatestVersion
	}
	_ = p.print(e) // nobody is left to tell
	return 1
}

func (p Plugin) print(v any) error {
	if v == nil {
		return nil
	}
	return json.NewEncoder(p.Stdout).Encode(v)
}

// run returns what to print, nil for nothing.
func (p Plugin) run() (c Config, result any, err error) {
	r := &Request{
		Command: p.Getenv("CNI_COMMAND"), ContainerID: p.Getenv("CNI_CONTAINERID"), Netns: p.Getenv("CNI_NETNS"),
		IfName: p.Getenv("CNI_IFNAME"), Args: p.Getenv("CNI_ARGS"),
	}
	if r.Config, err = io.ReadAll(p.Stdin); err != nil {
		return c, nil, Errorf(CodeIO, "read network configuration: %v", err)
	}
	if r.Command == Version && len(r.Config) == 0 {
		r.Config = []byte("{}")
	}
	if err := json.Unmarshal(r.Config, &c); err != nil {
		return c, nil, Errorf(CodeDecode, "decode network configuration: %v", err)
	}
	if r.Command == Version {
		return c, map[string]any{"cniVersion": LatestVersion, "supportedVersions": versions()}, nil
	}
	if !slices.Contains(versions(), c.CNIVersion) {
		return c, nil, &Error{Code: CodeVersion, Msg: "version of the network configuration is not supported", Details: c.CNIVersion}
	}
	result, err = p.call(c, r)
	return c, result, err
}

// call checks the environment and asks the agent.
func (p Plugin) call(c Config, r *Request) (any, error) {
	netns, err := openNetns(r)
	if err != nil {
		return nil, err
	}
	if netns != nil {
		defer netns.Close()
	}
	resp, err := p.ask(r, netns)
	if err != nil {
		return nil, unreachable(r.Command, p.Socket, err)
	}
	if resp.Error != nil {
		return nil, resp.Error
	}
	if resp.Result == nil {
		return nil, nil
	}
	resp.Result.adapt(c.CNIVersion)
	return resp.Result, nil
}

// ask calls the agent, for ADD until Patience is over: a repeated ADD is the
// first one's, should the agent have died over it.
func (p Plugin) ask(r *Request, netns *os.File) (*Response, error) {
	deadline := time.Now().Add(p.Patience)
	for {
		resp, err := Call(p.Socket, r, netns)
		if err == nil || r.Command != Add || time.Now().After(deadline) {
			return resp, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// openNetns checks that the environment has what the command needs, and opens
// the namespace for those that work in it. DEL does without: the namespace may
// be gone, and the node's side is enough.
func openNetns(r *Request) (*os.File, error) {
	switch r.Command {
	case GC, Status:
		return nil, nil
	case Add, Check, Del:
	default:
		return nil, Errorf(CodeEnvironment, "CNI_COMMAND %q is unknown", r.Command)
	}
	if r.ContainerID == "" || r.IfName == "" {
		return nil, Errorf(CodeEnvironment, "CNI_CONTAINERID and CNI_IFNAME must be set")
	}
	if r.Command == Del {
		return nil, nil
	}
	f, err := os.Open(r.Netns)
	if err != nil {
		return nil, Errorf(CodeUnknown, "open network namespace of the pod: %v", err)
	}
	return f, nil
}

// unreachable says what the agent's silence means. A DEL succeeds without it:
// the runtime removes the namespace next and the interface with it, and the
// agent frees the address of an interface that is gone when it is back.
// Failing would keep pods in Terminating for as long as the agent is away.
func unreachable(command, socket string, err error) error {
	const msg = "the Fairway agent of this node does not answer"
	details := err.Error() + "; look at the pod of DaemonSet fairway-agent on this node; the runtime will try again"
	switch command {
	case Del, GC:
		return nil
	case Status:
		return &Error{Code: CodeNotAvailable, Msg: msg, Details: details}
	}
	return &Error{Code: CodeTryLater, Msg: msg, Details: details}
}
