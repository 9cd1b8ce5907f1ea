package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/fairway-net/fairway/bench/peer"
)

// coredns is the version of the rival, a Go module.
const coredns = "github.com/coredns/coredns@v1.15.0"

// packages are Debian's: the peers, the client, and libraries that a small
// machine lacks. They are unpacked only: installing a server would start it.
var packages = []string{"knot", "libknot13", "libdnssec9", "libzscanner4", "liburcu8", "nsd", "unbound", "dnsperf", "libldns3",
	"libxdp1", "libbpf1", "libfstrm0", "liblmdb0", "libprotobuf-c1", "libcap-ng0", "libevent-2.1-7"}

// tools are the programs of a benchmark.
type tools struct {
	fairway, coredns, knot, nsd, unbound, dnsperf string
	also                                          string // another build of fairway; "": none
	env                                           []string
}

// fetch finds them, after fetching what is not there yet.
func fetch(ctx context.Context, root string, without []string) (tools, error) {
	cache := filepath.Join(root, ".cache", "bench-dns")
	unpacked := filepath.Join(cache, "root")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return tools{}, err
	}
	if _, err := os.Stat(unpacked); err != nil {
		if err := peer.Unpack(ctx, cache, unpacked, packages); err != nil {
			return tools{}, err
		}
	}
	bin := filepath.Join(cache, "coredns")
	if _, err := os.Stat(bin); err != nil && !slices.Contains(without, "coredns") {
		cmd := exec.CommandContext(ctx, "go", "install", coredns)
		cmd.Env = append(os.Environ(), "GOBIN="+cache, "GOFLAGS=", "CGO_ENABLED=0")
		if err := peer.Run(cmd); err != nil {
			return tools{}, fmt.Errorf("build CoreDNS: %w", err)
		}
	}
	t := tools{
		fairway: filepath.Join(root, "bin", "fairway"), coredns: bin,
		knot: filepath.Join(unpacked, "usr/sbin/knotd"), nsd: filepath.Join(unpacked, "usr/sbin/nsd"),
		unbound: filepath.Join(unpacked, "usr/sbin/unbound"), dnsperf: filepath.Join(unpacked, "usr/bin/dnsperf"),
	}
	libs, err := filepath.Glob(filepath.Join(unpacked, "usr/lib/*-linux-gnu*"))
	if err != nil || len(libs) == 0 {
		return t, fmt.Errorf("no libraries below %s; remove it to fetch them again", unpacked)
	}
	t.env = append(os.Environ(), "LD_LIBRARY_PATH="+libs[0])
	for _, file := range []string{t.fairway, t.knot, t.nsd, t.unbound, t.dnsperf} {
		if _, err := os.Stat(file); err != nil {
			return t, err
		}
	}
	return t, nil
}
