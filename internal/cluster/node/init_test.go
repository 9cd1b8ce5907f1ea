package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// start runs components, which are shell scripts, as a node's init would, until
// the test ends. Reaping is the whole process's: only one test at a time can start
// children.
func start(t *testing.T, components ...Component) (stat func(name string) Stat, log func(name string) string) {
	t.Helper()
	dir := t.TempDir()
	b := newBoard(slog.New(slog.DiscardHandler), components, "/bin", dir, filepath.Join(dir, "stat.json"))
	ctx, cancel := context.WithCancel(context.Background())
	done, stop := make(chan struct{}), make(chan struct{})
	go b.reap(stop)
	go func() { b.runAll(ctx, components); close(done) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("components run on")
		}
		close(stop)
	})
	stat = func(name string) Stat {
		data, err := os.ReadFile(filepath.Join(dir, "stat.json"))
		if err != nil {
			return Stat{}
		}
		var all []Stat
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if s.Name == name {
				return s
			}
		}
		return Stat{}
	}
	log = func(name string) string {
		data, _ := os.ReadFile(filepath.Join(dir, name+".log")) // none yet: nothing logged
		return string(data)
	}
	return stat, log
}

func script(name, text string, after ...Wait) Component {
	return Component{Name: name, Args: []string{"sh", "-c", text}, After: after}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

func TestComponents(t *testing.T) {
	dir := t.TempDir()
	flag, socket := filepath.Join(dir, "flag"), filepath.Join(dir, "socket")

	crash := script("crash", "echo once more; exit 3")
	// The first attempt fails, the second does not.
	once := script("once", "test -e "+flag+" || { touch "+flag+"; exit 1; }; echo $WORD")
	once.Once, once.Env = true, []string{"WORD=done"}
	after := script("after", "echo started; sleep 0.2", Wait{Done: "once"})
	listen := script("listen", "echo connected; sleep 0.2", Wait{Unix: socket})
	// An orphan, whose parent ends at once: somebody else's to reap.
	orphan := script("orphan", "sleep 0.05 & echo left; sleep 0.2")
	private := script("private", "stat -c %a "+filepath.Join(dir, "private")+"; sleep 0.2")
	private.Dir = filepath.Join(dir, "private")

	stat, log := start(t, crash, once, after, listen, orphan, private)
	eventually(t, "crash is started again", func() bool { return stat("crash").Starts >= 3 })
	if s := stat("crash"); s.Exit != "exit status 3" || s.Done {
		t.Errorf("crash: %+v", s)
	}
	eventually(t, "once is done", func() bool { return stat("once").Done })
	if s := stat("once"); s.Starts != 2 || !strings.Contains(log("once"), "done") {
		t.Errorf("once: %+v, log %q", s, log("once"))
	}
	eventually(t, "after starts", func() bool { return strings.Contains(log("after"), "started") })
	eventually(t, "orphan's parent ends and is started again", func() bool { return stat("orphan").Starts >= 2 })
	eventually(t, "private has its directory", func() bool { return strings.HasPrefix(log("private"), "700\n") })

	if log("listen") != "" {
		t.Errorf("listen did not wait: %q", log("listen"))
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	eventually(t, "listen starts", func() bool { return strings.Contains(log("listen"), "connected") })
	if s := stat("once"); s.Starts != 2 {
		t.Errorf("once ran again: %+v", s)
	}
}

func TestSpecKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spec.json")
	want := &Spec{Name: "n", Root: "/r", Link: Link{Name: "eth0"}, Components: []Component{script("a", "b", Wait{TCP: "x:1"})}}
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSpec(path)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		t.Errorf("read %s, wrote %s", a, b)
	}
}
