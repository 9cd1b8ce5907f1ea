package bpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compiler is what the committed object was made by: another may well make another.
const compiler = "clang version 19.1.7 "

// The committed object is what the committed C compiles to.
func TestGenerated(t *testing.T) {
	if version, err := exec.Command("clang-19", "--version").Output(); err != nil || !bytes.Contains(version, []byte(compiler)) {
		t.Skipf("needs %s: %s %v", compiler, version, err)
	}
	src, err := os.ReadFile("gen.go")
	if err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(string(src), "//go:generate go tool bpf2go ")
	if !ok {
		t.Fatal("gen.go has no bpf2go line")
	}
	dir := t.TempDir()
	args := append([]string{"tool", "bpf2go", "-output-dir", dir}, strings.Fields(line)...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOPACKAGE=bpf")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("generate: %v\n%s", err, out)
	}
	for _, name := range []string{"kernel_bpfel.go", "kernel_bpfel.o"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what bpf/ compiles to: run go generate ./internal/apply/bpf", name)
		}
	}
}
