package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/fairway-net/fairway/bench/peer"
)

// iptables returns the environment in which kube-proxy finds iptables: this
// process's own, or one with Debian's package unpacked below cache, without
// installing it.
func iptables(ctx context.Context, cache string) ([]string, error) {
	if _, err := exec.LookPath("iptables"); err == nil {
		return os.Environ(), nil
	}
	root := filepath.Join(cache, "iptables")
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		packages := []string{"iptables", "libxtables12", "libip4tc2", "libip6tc2", "libnfnetlink0", "libnetfilter-conntrack3", "libnftnl11", "libmnl0"}
		if err := peer.Unpack(ctx, cache, root, packages); err != nil {
			return nil, err
		}
	}
	// What Debian's alternatives would link: all commands are one program. Where
	// the kernel has the tables of old, they are the faster: with nf_tables behind
	// it, one iptables-restore for 1,000 Services takes ten times as long.
	program := "xtables-nft-multi"
	if _, err := os.Stat("/proc/net/ip_tables_names"); err == nil {
		program = "xtables-legacy-multi"
	}
	commands := filepath.Join(root, program)
	if err := os.MkdirAll(commands, 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		if err := os.Symlink("../usr/sbin/"+program, filepath.Join(commands, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	libs, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if err != nil || len(libs) == 0 {
		return nil, errors.Join(err, errors.New("Debian's iptables package has no libraries"))
	}
	return append(os.Environ(), "PATH="+commands+":"+os.Getenv("PATH"), "LD_LIBRARY_PATH="+libs[0], "XTABLES_LIBDIR="+libs[0]+"/xtables"), nil
}
