package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fairway-net/fairway/bench/peer"
)

// packages are Debian's: the peers, the client, and libraries that a small
// machine lacks. They are unpacked only: installing a server would start it.
var packages = []string{"nginx", "haproxy", "caddy", "wrk", "nghttp2-client", "libev4", "libjemalloc2", "libjansson4", "libnghttp2-14", "libluajit-5.1-2", "libluajit-5.1-common", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1", "libpcre2-8-0"}

// tools are the programs of a benchmark.
type tools struct {
	fairway, nginx, haproxy, caddy, wrk, h2load string
	env                                         []string
}

// fetch finds them, after fetching what is not there yet.
func fetch(ctx context.Context, root string) (tools, error) {
	cache := filepath.Join(root, ".cache", "bench-http")
	unpacked := filepath.Join(cache, "root")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return tools{}, err
	}
	if _, err := os.Stat(unpacked); err != nil {
		if err := peer.Unpack(ctx, cache, unpacked, packages); err != nil {
			return tools{}, err
		}
	}
	t := tools{
		fairway: filepath.Join(root, "bin", "bench", "standalone"), nginx: filepath.Join(unpacked, "usr/sbin/nginx"),
		haproxy: filepath.Join(unpacked, "usr/sbin/haproxy"), caddy: filepath.Join(unpacked, "usr/bin/caddy"),
		h2load: filepath.Join(unpacked, "usr/bin/h2load"), wrk: filepath.Join(unpacked, "usr/bin/wrk"),
	}
	libs, err := filepath.Glob(filepath.Join(unpacked, "usr/lib/*-linux-gnu*"))
	if err != nil || len(libs) == 0 {
		return t, fmt.Errorf("no libraries below %s; remove it to fetch them again", unpacked)
	}
	t.env = append(os.Environ(), "LD_LIBRARY_PATH="+libs[0])
	for _, file := range []string{t.fairway, t.nginx, t.haproxy, t.caddy, t.wrk, t.h2load} {
		if _, err := os.Stat(file); err != nil {
			return t, err
		}
	}
	return t, nil
}
