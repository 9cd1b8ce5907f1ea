package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// packages are Debian's: the peers, the client, and libraries that a small
// machine lacks. They are unpacked only: installing a server would start it.
var packages = []string{"nginx", "haproxy", "wrk", "libluajit-5.1-2", "libluajit-5.1-common", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1", "libpcre2-8-0"}

// tools are the programs of a benchmark.
type tools struct {
	fairway, nginx, haproxy, wrk string
	env                          []string
}

// fetch finds them, after fetching what is not there yet.
func fetch(ctx context.Context, root string) (tools, error) {
	cache := filepath.Join(root, ".cache", "bench-http")
	unpacked := filepath.Join(cache, "root")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return tools{}, err
	}
	if _, err := os.Stat(unpacked); err != nil {
		if err := unpack(ctx, cache, unpacked); err != nil {
			return tools{}, err
		}
	}
	t := tools{
		fairway: filepath.Join(root, "bin", "bench", "standalone"), nginx: filepath.Join(unpacked, "usr/sbin/nginx"),
		haproxy: filepath.Join(unpacked, "usr/sbin/haproxy"), wrk: filepath.Join(unpacked, "usr/bin/wrk"),
	}
	libs, err := filepath.Glob(filepath.Join(unpacked, "usr/lib/*-linux-gnu*"))
	if err != nil || len(libs) == 0 {
		return t, fmt.Errorf("no libraries below %s; remove it to fetch them again", unpacked)
	}
	t.env = append(os.Environ(), "LD_LIBRARY_PATH="+libs[0])
	for _, file := range []string{t.fairway, t.nginx, t.haproxy, t.wrk} {
		if _, err := os.Stat(file); err != nil {
			return t, err
		}
	}
	return t, nil
}

// unpack leaves nothing half done behind: the directory appears at the end.
func unpack(ctx context.Context, cache, to string) error {
	dir, err := os.MkdirTemp(cache, "unpack")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"download", "-q"}, packages...)...)
	cmd.Dir = dir
	if err := output(cmd); err != nil {
		return fmt.Errorf("fetch Debian's packages: %w", err)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if err := output(exec.CommandContext(ctx, "dpkg", "-x", deb, filepath.Join(dir, "root"))); err != nil {
			return err
		}
	}
	return os.Rename(filepath.Join(dir, "root"), to)
}

// output runs cmd; what it printed is part of the error.
func output(cmd *exec.Cmd) error {
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, b)
	}
	return nil
}
