package agent

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// otherStructs are changes of C structs as a later version may make them: members
// that are new, in front of others.
var otherStructs = map[string]string{
	"struct conn {\n":     "\t__u64 added;\n",
	"struct frontend {\n": "\t__u32 added;\n",
	"struct backend {\n":  "\t__u32 added;\n",
	"struct member {\n":   "\t__u32 added;\n",
	"struct affinity {\n": "\t__u64 added;\n",
}

// otherBuild compiles this package's tests anew, with the programs of another
// version, and returns the program.
func otherBuild(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("clang-19"); err != nil {
		t.Skip("needs clang-19")
	}
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.CopyFS(filepath.Join(dir, "bpf"), os.DirFS("../../bpf")))
	types := filepath.Join(dir, "bpf/lib/types.h")
	src, err := os.ReadFile(types)
	must(err)
	text := string(src)
	for head, added := range otherStructs {
		if strings.Count(text, head) != 1 {
			t.Fatalf("types.h has not one %q", head)
		}
		text = strings.Replace(text, head, head+added, 1)
	}
	must(os.WriteFile(types, []byte(text), 0o644))

	applier, err := filepath.Abs("../apply/bpf")
	must(err)
	gen, err := os.ReadFile(filepath.Join(applier, "gen.go"))
	must(err)
	_, line, _ := strings.Cut(string(gen), "//go:generate go ")
	line = strings.Replace(line, "../../../bpf/", filepath.Join(dir, "bpf")+"/", 1)
	run := func(at string, args ...string) {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = at, append(os.Environ(), "GOPACKAGE=bpf")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", args[0], err, out)
		}
	}
	args := strings.Fields(line)
	run(applier, append([]string{args[0], args[1], "-output-dir", dir}, args[2:]...)...)
	replace := map[string]string{}
	for _, name := range []string{"kernel_bpfel.go", "kernel_bpfel.o"} {
		replace[filepath.Join(applier, name)] = filepath.Join(dir, name)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	must(err)
	must(os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644))
	program := filepath.Join(dir, "other.test")
	run(".", "test", "-c", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, ".")
	return program
}

// TestUpgradeOtherStructs: a version whose C structs have other members, the
// connection table's among them, takes over under load; then this one does again,
// to which those members are unknown.
func TestUpgradeOtherStructs(t *testing.T) {
	other := otherBuild(t)
	w := newFaultWorld(t)
	w.start()
	own := w.flowSize()
	loads, calm := w.load(rate()), w.churn()
	time.Sleep(time.Second)
	w.upgrade(agentSpec{Layout: "v97", Program: other})
	if got := w.flowSize(); got != own+8 {
		t.Errorf("a flow of the other version has %d bytes, of this one %d", got, own)
	}
	w.upgrade(agentSpec{})
	calm()
	w.unharmed(loads)
	w.settled()
}

// flowSize returns how many bytes the one connection table there is has for the
// state of a flow.
func (w *faultWorld) flowSize() uint32 {
	w.Helper()
	paths, err := filepath.Glob(filepath.Join(w.bpffs, "fairway/v*/maps/conns"))
	if err != nil || len(paths) != 1 {
		w.Fatalf("connection tables: %v %v", paths, err)
	}
	m, err := ebpf.LoadPinnedMap(paths[0], nil)
	if err != nil {
		w.Fatal(err)
	}
	defer m.Close()
	return m.ValueSize()
}
