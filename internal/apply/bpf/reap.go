package bpf

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/fairway-net/fairway/internal/sys"
)

// reaper destroys the sockets that talk to nobody; see bpf/reap.bpf.c. It has a
// goroutine of its own, for it enters the network namespaces of pods, which
// may be many, and whoever applies a change must not wait for that.
type reaper struct {
	objs *kernelObjects
	log  *slog.Logger
	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex
	addrs  map[kernelAddr]bool // backends of which something has gone
	closed bool
}

func newReaper(objs *kernelObjects, log *slog.Logger) *reaper {
	r := &reaper{objs: objs, log: log, wake: make(chan struct{}, 1), done: make(chan struct{}), addrs: map[kernelAddr]bool{}}
	go r.run()
	return r
}

// probeIterators takes the iterators out of spec if the kernel refuses them, as
// one may that is locked down. Services work without; but sockets then learn of
// a backend that is gone by their timeouts alone.
func (d *Datapath) probeIterators(spec *ebpf.CollectionSpec, opts *ebpf.CollectionOptions) error {
	var it struct {
		UDP *ebpf.Program `ebpf:"reap_udp"`
		TCP *ebpf.Program `ebpf:"reap_tcp"`
	}
	err := spec.LoadAndAssign(&it, opts)
	if err == nil {
		return errors.Join(it.UDP.Close(), it.TCP.Close())
	}
	d.log.Warn("the kernel refuses programs that end sockets: those connected to a pod that is gone wait for their timeouts", "err", err)
	for _, name := range []string{kernelProgReapUdp, kernelProgReapTcp} {
		spec.Programs[name] = &ebpf.ProgramSpec{Name: name, Type: ebpf.SocketFilter, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}}
	}
	return nil
}

// able reports whether the kernel has the iterators.
func (r *reaper) able() bool { return r.objs.ReapTcp.Type() == ebpf.Tracing }

// want makes the reaper look after the sockets that talk to addrs.
func (r *reaper) want(addrs map[kernelAddr]bool) {
	if len(addrs) == 0 || !r.able() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.addrs, addrs)
	r.signal()
}

// parting is how long a UDP socket is left to a backend that serves no more: for
// the answers that are under way. New sockets go elsewhere at once.
const parting = 500 * time.Millisecond

// wantSoon is want after the time of parting.
func (r *reaper) wantSoon(addrs map[kernelAddr]bool) {
	if len(addrs) > 0 {
		addrs = maps.Clone(addrs)
		time.AfterFunc(parting, func() { r.want(addrs) })
	}
}

// signal is called with mu held.
func (r *reaper) signal() {
	if r.closed {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default: // it has not begun yet
	}
}

// close waits until the reaper has ended.
func (r *reaper) close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.wake)
	}
	r.mu.Unlock()
	<-r.done
}

func (r *reaper) run() {
	defer close(r.done)
	for range r.wake {
		r.mu.Lock()
		addrs := r.addrs
		r.addrs = map[kernelAddr]bool{}
		r.mu.Unlock()
		if err := r.reap(addrs); err != nil {
			r.log.Warn("sockets keep talking to endpoints that are gone", "err", err)
		}
	}
}

// reap looks through the sockets of all namespaces that have talked to addrs.
func (r *reaper) reap(addrs map[kernelAddr]bool) error {
	cookies := map[uint64]bool{}
	talkers, full, err := r.talkers(addrs)
	for _, k := range talkers {
		cookies[k.Netns] = true
	}
	err = errors.Join(err, eachBatch(r.objs.TcpPeers, func(_ uint64, t kernelTcpPeer) {
		if addrs[t.Peer.Backend] {
			cookies[t.Netns] = true
		}
	}))
	if err != nil {
		return fmt.Errorf("list namespaces with sockets: %w", err)
	}
	if full { // some may not be in the map
		cookies = nil
	} else if len(cookies) == 0 {
		return nil
	}
	namespaces, err := sys.FindNetns(cookies)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range namespaces {
		errs = append(errs, n.Do(func() error {
			return errors.Join(runIter(r.objs.ReapUdp), runIter(r.objs.ReapTcp))
		}), n.Close())
	}
	for _, k := range talkers {
		if r.objs.Gone.Lookup(k.Backend, new(uint32)) == nil { // nobody talks to it any more
			errs = append(errs, deleteKey(r.objs.Talkers, k))
		}
	}
	return errors.Join(errs...)
}

// talkers lists the entries for addrs, and says whether the map is full.
func (r *reaper) talkers(addrs map[kernelAddr]bool) (found []kernelTalkerKey, full bool, err error) {
	n := uint32(0)
	err = eachBatch(r.objs.Talkers, func(k kernelTalkerKey, _ uint32) {
		n++
		if addrs[k.Backend] {
			found = append(found, k)
		}
	})
	return found, n >= r.objs.Talkers.MaxEntries(), err
}

// sweep forgets the namespaces that are gone, once there are enough entries to
// care.
func (r *reaper) sweep() error {
	const enough = 4096
	var keys []kernelTalkerKey
	err := eachBatch(r.objs.Talkers, func(k kernelTalkerKey, _ uint32) { keys = append(keys, k) })
	if err != nil || len(keys) < enough {
		return err
	}
	namespaces, err := sys.FindNetns(nil)
	if err != nil {
		return err
	}
	live := map[uint64]bool{}
	for _, n := range namespaces {
		live[n.Cookie] = true
		n.Close()
	}
	for _, k := range keys {
		if !live[k.Netns] {
			if err := deleteKey(r.objs.Talkers, k); err != nil {
				return err
			}
		}
	}
	return nil
}

// runIter runs a BPF iterator over the sockets of the thread's network namespace.
func runIter(prog *ebpf.Program) error {
	it, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		return fmt.Errorf("attach iterator: %w", err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return fmt.Errorf("open iterator: %w", err)
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
