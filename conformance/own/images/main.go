// Command images makes the container images that Kubernetes' end-to-end tests
// run, under the names by which the tests ask for them, without pulling any:
// the tests' own programs are built from the pinned module, and the tools that
// they call (sh, curl, nc, dig, …) are taken from this Debian machine with the
// libraries that they need.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/image"
)

const repo = "registry.k8s.io/e2e-test-images/"

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: images KUBERNETES-DIR BIN-DIR OUT.tar   (BIN-DIR holds agnhost, regression-issue-74839, and perhaps coredns and iperf/)")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func write(kubernetes, bin, out string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	tools, err := userland("/bin/dash:/bin/sh", "/usr/bin/curl", "/usr/bin/wget", "/bin/nc.openbsd:/usr/bin/nc", "/usr/bin/dig", "/usr/bin/getent", "/usr/bin/timeout")
	if err != nil {
		return err
	}
	// busybox's wget, which this one stands in for, does not try again: GNU's would
	// spend minutes on each connection that is to be refused.
	wgetrc := filepath.Join(bin, "wgetrc")
	if err := os.WriteFile(wgetrc, []byte("tries = 1\n"), 0o644); err != nil {
		return err
	}
	tools = append(tools, image.File{Path: "/etc/wgetrc", Source: wgetrc})
	path := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	agnhost := append([]image.File{
		{Path: "/agnhost", Source: filepath.Join(bin, "agnhost")},
		{Path: "/agnhost-2", Link: "/agnhost"},
		{Path: "/uploads/.keep", Source: "/dev/null"},
		{Path: "/localhost.crt", Source: filepath.Join(kubernetes, "test/images/agnhost/porter/localhost.crt")},
		{Path: "/localhost.key", Source: filepath.Join(kubernetes, "test/images/agnhost/porter/localhost.key")},
	}, tools...)
	// What only a few specs want, none of the quick part's: a name server of their
	// own, and iperf, which iperf.sh fetches.
	if coredns := filepath.Join(bin, "coredns"); exists(coredns) {
		agnhost = append(agnhost, image.File{Path: "/coredns", Source: coredns})
	}
	if iperf, err := filepath.Glob(filepath.Join(bin, "iperf", "*")); err != nil {
		return err
	} else if len(iperf) > 0 {
		for _, source := range iperf {
			agnhost = append(agnhost, image.File{Path: "/opt/iperf/" + filepath.Base(source), Source: source})
		}
		agnhost = append(agnhost, image.File{Path: "/usr/bin/iperf", Link: "/opt/iperf/iperf"})
	}
	if _, err := image.Write(f,
		image.Image{Name: repo + "agnhost:2.63.0", Files: agnhost, Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, Env: path},
		image.Image{Name: repo + "glibc-dns-testing:2.0.0", Files: tools, Entrypoint: []string{"/bin/sh"}, Env: path},
		image.Image{Name: repo + "busybox:1.37.0-1", Files: tools, Entrypoint: []string{"/bin/sh"}, Env: path},
		image.Image{Name: "registry.k8s.io/build-image/distroless-iptables:v0.9.6", Files: tools, Entrypoint: []string{"/bin/sh"}, Env: path},
		image.Image{Name: repo + "nginx:1.15-4", Files: agnhost, Entrypoint: []string{"/agnhost", "netexec", "--http-port=80"}, Env: path},
		image.Image{Name: repo + "nginx:1.27-0", Files: agnhost, Entrypoint: []string{"/agnhost", "netexec", "--http-port=80"}, Env: path},
		image.Image{Name: "registry.k8s.io/pause:3.10.2", Files: []image.File{{Path: "/agnhost", Source: filepath.Join(bin, "agnhost")}}, Entrypoint: []string{"/agnhost", "pause"}},
		image.Image{Name: repo + "regression-issue-74839:1.4", Files: []image.File{{Path: "/regression-issue-74839", Source: filepath.Join(bin, "regression-issue-74839")}}, Entrypoint: []string{"/regression-issue-74839"}},
	); err != nil {
		return err
	}
	return f.Close()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// userland returns busybox with all its applets, and programs ("SOURCE" or
// "SOURCE:PATH") with their libraries in the place of the applets. The shell
// must be one of the programs: busybox's own runs its applets whatever is in PATH.
func userland(programs ...string) ([]image.File, error) {
	files := []image.File{{Path: "/bin/busybox", Source: "/bin/busybox"}}
	have := map[string]bool{"/bin/busybox": true}
	add := func(f image.File) {
		if !have[f.Path] {
			have[f.Path] = true
			files = append(files, f)
		}
	}
	for _, p := range programs {
		source, path, ok := strings.Cut(p, ":")
		if !ok {
			path = source
		}
		add(image.File{Path: path, Source: source})
		libs, err := libraries(source)
		if err != nil {
			return nil, err
		}
		for _, lib := range libs {
			add(image.File{Path: lib, Source: lib})
		}
	}
	// glibc's resolver is loaded at run time.
	for _, pattern := range []string{"/lib/x86_64-linux-gnu/libnss_*.so.2", "/lib/aarch64-linux-gnu/libnss_*.so.2"} {
		nss, _ := filepath.Glob(pattern)
		for _, lib := range nss {
			add(image.File{Path: lib, Source: lib})
		}
	}
	applets, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list busybox's applets (apt-get install busybox-static): %w", err)
	}
	for _, a := range strings.Fields(string(applets)) {
		if !slices.ContainsFunc(files, func(f image.File) bool { return filepath.Base(f.Path) == a }) {
			add(image.File{Path: "/bin/" + a, Link: "/bin/busybox"})
		}
	}
	return files, nil
}

// libraries returns the shared libraries that a program needs, its loader included.
func libraries(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s (is it installed?): %w", program, err)
	}
	var libs []string
	for _, field := range strings.Fields(string(out)) {
		if strings.HasPrefix(field, "/") {
			libs = append(libs, field)
		}
	}
	return libs, nil
}
