package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/fairway-net/fairway/internal/sys"
)

// reap destroys the connected UDP sockets of all pods whose backend is gone;
// see bpf/reap.bpf.c. It costs nothing to speak of where there are none.
func (d *Datapath) reap() error {
	out, err := runIter(link.IterOptions{Program: d.objs.Orphans, Map: d.objs.SockPeer})
	if err != nil {
		return fmt.Errorf("list orphaned sockets: %w", err)
	}
	inodes := map[uint32]bool{}
	for ; len(out) >= 4; out = out[4:] {
		inodes[binary.NativeEndian.Uint32(out)] = true
	}
	if len(inodes) == 0 {
		return nil
	}
	namespaces, err := sys.FindNetns(inodes)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range namespaces {
		errs = append(errs, n.Do(func() error { return reapHere(d.objs.Reap) }), n.Close())
	}
	return errors.Join(errs...)
}

// reapHere destroys the orphaned sockets of the thread's network namespace.
func reapHere(prog *ebpf.Program) error {
	if _, err := runIter(link.IterOptions{Program: prog}); err != nil {
		return fmt.Errorf("destroy orphaned sockets: %w", err)
	}
	return nil
}

// runIter runs a BPF iterator to its end and returns what it wrote.
func runIter(o link.IterOptions) ([]byte, error) {
	it, err := link.AttachIter(o)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
