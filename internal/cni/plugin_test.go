package cni

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// answering listens as an agent would and answers every call with resp. What
// it received is in the channel.
func answering(t *testing.T, resp Response) (socket string, received chan *Request) {
	t.Helper()
	socket, received = filepath.Join(t.TempDir(), "cni.sock"), make(chan *Request, 1)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			r, ns, err := Receive(conn)
			if err != nil {
				t.Error(err)
			}
			if ns != nil {
				ns.Close()
			}
			received <- r
			_ = json.NewEncoder(conn).Encode(resp)
			conn.Close()
		}
	}()
	return socket, received
}

func run(t *testing.T, socket, config string, env map[string]string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	p := Plugin{Getenv: func(k string) string { return env[k] }, Stdin: strings.NewReader(config), Stdout: &out, Socket: socket}
	code := p.Run()
	return out.String(), code
}

func environment(command string) map[string]string {
	return map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0", "CNI_NETNS": "/proc/self/ns/net"}
}

func without(env map[string]string, key string) map[string]string {
	delete(env, key)
	return env
}

func TestPluginRefusesWhatItCannotDo(t *testing.T) {
	good := `{"cniVersion":"1.1.0","name":"fairway","type":"fairway-cni"}`
	noNetns := environment(Add)
	noNetns["CNI_NETNS"] = "/proc/self/ns/nothing"
	tests := []struct {
		name, config string
		env          map[string]string
		code         uint
	}{
		{"configuration that is no JSON", `{"cniVersion":`, environment(Add), CodeDecode},
		{"a version of tomorrow", `{"cniVersion":"9.0.0"}`, environment(Add), CodeVersion},
		{"no version", `{}`, environment(Add), CodeVersion},
		{"an unknown command", good, environment("FLY"), CodeEnvironment},
		{"no command", good, without(environment(Add), "CNI_COMMAND"), CodeEnvironment},
		{"no container", good, without(environment(Add), "CNI_CONTAINERID"), CodeEnvironment},
		{"no interface", good, without(environment(Del), "CNI_IFNAME"), CodeEnvironment},
		{"a namespace that is gone", good, noNetns, CodeUnknown},
		{"no agent", good, environment(Add), CodeTryLater},
		{"no agent to check with", good, environment(Check), CodeTryLater},
		{"no agent to be ready", good, environment(Status), CodeNotAvailable},
	}
	for _, tt := range tests {
		out, exit := run(t, filepath.Join(t.TempDir(), "nobody"), tt.config, tt.env)
		var e Error
		if err := json.Unmarshal([]byte(out), &e); err != nil || exit == 0 || e.Code != tt.code || e.Msg == "" || e.CNIVersion == "" {
			t.Errorf("%s: exit %d, %s (%v); want code %d", tt.name, exit, out, err, tt.code)
		}
	}
}

func TestPluginVersionNeedsNobody(t *testing.T) {
	for _, config := range []string{"", `{"cniVersion":"1.1.0"}`} {
		out, exit := run(t, "/nobody", config, map[string]string{"CNI_COMMAND": Version})
		var v struct{ SupportedVersions []string }
		if err := json.Unmarshal([]byte(out), &v); err != nil || exit != 0 || len(v.SupportedVersions) < 3 {
			t.Errorf("exit %d, %s (%v)", exit, out, err)
		}
	}
}

func TestPluginPassesTheCallOn(t *testing.T) {
	socket, received := answering(t, Response{Result: &Result{
		Interfaces: []Interface{{Name: "eth0"}}, IPs: []IP{{Address: "10.0.0.1/32"}, {Address: "fd00::1/128"}}}})
	env := environment(Add)
	env["CNI_ARGS"] = "IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_UID=u"
	for version, families := range map[string]string{"0.3.1": "4 6", "1.0.0": " ", "1.1.0": " "} {
		out, exit := run(t, socket, `{"cniVersion":"`+version+`","name":"fairway","type":"fairway-cni"}`, env)
		var res Result
		if err := json.Unmarshal([]byte(out), &res); err != nil || exit != 0 || res.CNIVersion != version {
			t.Fatalf("%s: exit %d, %s (%v)", version, exit, out, err)
		}
		if got := res.IPs[0].Version + " " + res.IPs[1].Version; got != families {
			t.Errorf("%s: families %q, want %q", version, got, families)
		}
		r := <-received
		if r.Command != Add || r.ContainerID != "c" || r.IfName != "eth0" || r.Arg("K8S_POD_NAME") != "web" || r.Arg("K8S_POD") != "" {
			t.Errorf("%s: the agent was asked %+v", version, r)
		}
	}
}

func TestPluginShowsTheAgentsError(t *testing.T) {
	socket, received := answering(t, Response{Error: Errorf(CodeInternal, "allocate address: all are in use")})
	for _, command := range []string{Add, Del, Check, GC, Status} {
		out, exit := run(t, socket, `{"cniVersion":"1.1.0","name":"fairway"}`, environment(command))
		if r := <-received; exit == 0 || !strings.Contains(out, "all are in use") || !strings.Contains(out, `"cniVersion":"1.1.0"`) || r.Command != command {
			t.Errorf("%s: exit %d, %s", command, exit, out)
		}
	}
}

// A long list of attachments does not fit into one message.
func TestLongRequest(t *testing.T) {
	socket, received := answering(t, Response{})
	config := `{"cniVersion":"1.1.0","name":"` + strings.Repeat("x", 1<<20) + `"}`
	if out, exit := run(t, socket, config, environment(Add)); exit != 0 {
		t.Fatalf("exit %d, %s", exit, out)
	}
	if r := <-received; len(r.Config) != len(config) {
		t.Errorf("%d bytes arrived of %d", len(r.Config), len(config))
	}
}

func TestReceiveWantsOneDescriptor(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		defer c.Close()
		ends[i] = c.(*net.UnixConn)
	}
	if _, _, err := ends[0].WriteMsgUnix([]byte(`{}`), syscall.UnixRights(0, 1), nil); err != nil {
		t.Fatal(err)
	}
	ends[0].Close()
	if _, _, err := Receive(ends[1]); err == nil {
		t.Error("two descriptors were accepted")
	}
}
