package dns

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// muslLookup builds testdata/lookup.c with musl, the C library of Alpine's images.
// Debian's package is unpacked, not installed. Without it, or a compiler, the
// test that needs it is skipped.
func muslLookup(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc: the resolver of musl is not tested")
	}
	dir := t.TempDir()
	run := func(name string, args ...string) error {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		b, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("%s %v: %s", name, args, b)
		}
		return err
	}
	if err := run("apt-get", "download", "musl-dev"); err != nil {
		t.Skipf("Debian's package musl-dev cannot be had (%v): the resolver of musl is not tested", err)
	}
	packages, err := filepath.Glob(filepath.Join(dir, "musl-dev_*.deb"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("packages: %v, %v", packages, err)
	}
	if err := run("dpkg", "-x", packages[0], "."); err != nil {
		t.Fatal(err)
	}
	libs, err := filepath.Glob(filepath.Join(dir, "usr/lib/*-linux-musl"))
	if err != nil || len(libs) != 1 {
		t.Fatalf("libraries: %v, %v", libs, err)
	}
	source, err := filepath.Abs("testdata/lookup.c")
	if err != nil {
		t.Fatal(err)
	}
	lib := func(file string) string { return filepath.Join(libs[0], file) }
	out := filepath.Join(dir, "lookup")
	if err := run(gcc, "-nostdinc", "-isystem", filepath.Join(dir, "usr/include", filepath.Base(libs[0])), "-fno-pie", "-no-pie", "-static", "-nostdlib", "-nostartfiles",
		"-o", out, lib("crt1.o"), lib("crti.o"), source, lib("libc.a"), "-lgcc", lib("crtn.o")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(out); err != nil {
		t.Fatal(err)
	}
	return out
}
