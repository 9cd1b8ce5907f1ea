package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fairway-net/fairway/internal/plan/policy"
	"github.com/fairway-net/fairway/internal/sys"
)

// layout is the version of the maps' form. A change of a key, a value or a map
// type needs a new one.
const layout = "v2"

// Datapath is the kernel datapath of one node. Its methods may be called by
// several goroutines; each is one change at a time, of Services or of anything
// else: they do not wait for each other.
type Datapath struct {
	o      Options
	layout string
	log    *slog.Logger
	objs   kernelObjects
	tables *tables

	services *services // has a lock of its own

	mu       sync.Mutex
	classes  *ids
	sets     *ids                          // policy sets
	verdicts map[uint32][]kernelVerdictKey // set -> what is in the map
	prefixes map[kernelPrefixKey]uint32    // class of each prefix in the map
	pods     map[int]*pod                  // by ifindex
	policy   *policy.Plan                  // the last applied; nil: none yet
	held     *appliedPolicy                // what it holds on to
	links    *links
	filters  *filters
	groups   *groups
	reaper   *reaper

	vips   []netip.Addr // as applied last
	uplink int          // index of the uplink that the programs are attached to; 0: none yet
	before *ebpf.Map    // connection table of another layout, to be copied; nil: none

	flows atomic.Int64 // in the connection table after the last Sweep
}

// Open loads the programs, with the maps pinned below o.Dir if there are any,
// and attaches them to the cgroup, the uplink and the pods that are there still.
// It removes nothing but pods whose link is gone.
func Open(o Options) (*Datapath, error) {
	if o.Layout == "" {
		o.Layout = layout
	}
	return open(o, o.Layout)
}

func open(o Options, layout string) (*Datapath, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &Datapath{o: o, layout: layout, log: o.Log, pods: map[int]*pod{}, verdicts: map[uint32][]kernelVerdictKey{}}
	if err := d.load(); err != nil {
		return nil, err
	}
	d.reaper = newReaper(&d.objs, d.log)
	if err := d.restore(); err != nil {
		return nil, errors.Join(fmt.Errorf("read maps below %s: %w", d.dir(), err), d.Close())
	}
	if err := d.attach(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

const noBPFFS = "mount one on the node (mount -t bpf bpf /sys/fs/bpf) and give the agent the host's /sys/fs/bpf: without it nothing would outlive the agent"

func (d *Datapath) dir() string { return filepath.Join(d.o.Dir, d.layout) }

// load puts the programs into the kernel, on maps that are pinned or will be.
func (d *Datapath) load() error {
	mapDir := filepath.Join(d.dir(), "maps")
	if err := os.MkdirAll(mapDir, 0o700); err != nil {
		return Trouble{"NoBPFFS", fmt.Errorf("make pin directory: %w", err), noBPFFS}
	}
	if !sys.IsBPFFS(mapDir) {
		return Trouble{"NoBPFFS", fmt.Errorf("%s is not on a bpffs", d.o.Dir), noBPFFS}
	}
	spec, err := loadKernel()
	if err != nil {
		return fmt.Errorf("read programs: %w", err)
	}
	cookie, err := sys.NetnsCookie()
	if err != nil {
		return err
	}
	if err := spec.Variables[kernelVarHostNetns].Set(cookie); err != nil {
		return fmt.Errorf("set %s: %w", kernelVarHostNetns, err)
	}
	lo, hi, err := natPorts()
	if err != nil {
		return err
	}
	if err := errors.Join(spec.Variables[kernelVarNatPortLo].Set(lo), spec.Variables[kernelVarNatPortHi].Set(hi)); err != nil {
		return fmt.Errorf("set ports for rewritten sources: %w", err)
	}
	if d.o.Spec != nil {
		d.o.Spec(spec)
	}
	if d.before, err = d.adopt(spec, mapDir); err != nil {
		return err
	}
	fit(spec, mapDir)
	opts := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: mapDir}}
	if err := d.probeIterators(spec, opts); err != nil {
		return err
	}
	if err := spec.LoadAndAssign(&d.objs, opts); err != nil {
		return refused(err)
	}
	d.tables, err = openTables(&d.objs.kernelMaps, spec, mapDir, d.o.MostEntries, d.log)
	return err
}

// natPorts returns the ports that rewritten sources get: above the privileged
// ones, below those that the node's own connections use and below the usual
// range of NodePorts. A node whose ephemeral range leaves no room shares it;
// then a flow of a pod and one of the node to the same place can collide.
func natPorts() (lo, hi uint16, err error) {
	const first, last, enough = 1024, 29999, 4096
	ephemeral, _, err := sys.EphemeralPorts()
	if err != nil {
		return 0, 0, err
	}
	if ephemeral < first+enough {
		return first, last, nil
	}
	return first, min(last, ephemeral-1), nil
}

// restore learns from the maps what earlier processes put there.
func (d *Datapath) restore() error {
	ids, err := restoreIDs(&d.tables.names)
	if err != nil {
		return err
	}
	d.classes, d.sets = ids[kindClass], ids[kindPolicySet]
	if d.services, err = restoreServices(d.tables, ids[kindService], ids[kindBackends]); err != nil {
		return err
	}
	if err := d.restoreVerdicts(); err != nil {
		return err
	}
	return d.restorePods()
}

// Close lets go of the maps and links; the kernel keeps them and works on.
func (d *Datapath) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reaper.close()
	if d.services != nil {
		d.services.mu.Lock()
		defer d.services.mu.Unlock()
	}
	if d.links != nil {
		d.links.close()
	}
	if d.filters != nil {
		d.filters.close()
	}
	if d.groups != nil {
		d.groups.close()
	}
	if d.before != nil {
		d.before.Close()
	}
	d.tables.close()
	return d.objs.Close()
}

// RetireOthers detaches the programs of other versions. Call it when this one
// knows all that it must: Services, policies, nodes and announced addresses.
// Until then both run, the other one first, and what the one has translated is
// no Service to the other.
func (d *Datapath) RetireOthers() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dirs, err := layouts(d.o.Dir)
	if err != nil {
		return err
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return dir == d.dir() })
	if len(dirs) == 0 {
		return nil
	}
	d.log.Info("removing the datapath of another version", "dirs", dirs)
	return d.handOver(func() error { return d.removeOthers(dirs) })
}

// removeOthers detaches the programs of other layouts: first those that see
// replies, then those that open flows. Were it the other way round, replies to
// what ours opened would pass theirs, which know nothing of it and would let them
// out untranslated. Ours hold back replies to what theirs opened until it is
// handed over. The directories go last: while one is there, this is tried again.
func (d *Datapath) removeOthers(dirs []string) error {
	for _, dir := range dirs {
		if err := (&links{dir: filepath.Join(dir, "links")}).remove("to_net"); err != nil {
			return err
		}
	}
	for _, at := range []uint32{toDevice, fromDevice} {
		if err := d.filters.removeOthers(at); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if err := unpin(dir); err != nil {
			return err
		}
	}
	return nil
}

// handOver calls remove, which takes other programs away, and sees to it that
// no flow of theirs is lost. Where the connection table is the same for both
// there is nothing to do.
func (d *Datapath) handOver(remove func() error) error {
	if d.before == nil {
		return remove()
	}
	start, err := monotonic()
	if err != nil {
		return err
	}
	n, err := d.inherit(d.before, math.MaxInt64) // most of them, while the others decide still
	if err != nil {
		return err
	}
	// From here on a connection may be in neither table for some milliseconds. Its
	// packets are dropped for so long, and sent again, instead of being refused.
	if err := d.objs.Handover.Set(uint32(1)); err != nil {
		return fmt.Errorf("begin to hand over: %w", err)
	}
	defer d.objs.Handover.Set(uint32(0))
	if err := remove(); err != nil {
		return err
	}
	more, err := d.inherit(d.before, start-clockTick) // and what they have opened meanwhile
	d.log.Info("took over flows of another version", "before", n, "after", more)
	if err != nil {
		return err
	}
	err = d.before.Close()
	d.before = nil
	return err
}

// clockTick is more than CLOCK_MONOTONIC_COARSE, by which programs note times, is
// ever behind.
const clockTick = 20 * time.Millisecond

// layouts lists the directories of all versions below dir, which may be the
// root of a bpffs with files of the kernel's own.
func layouts(dir string) ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(dir, "v[0-9]*"))
	if err != nil {
		return nil, fmt.Errorf("list layouts: %w", err)
	}
	return dirs, nil
}

// unpin removes one layout: links first, so that no program is left with maps
// that nobody can reach. They are detached by name: the kernel gets round to
// what nobody holds only later.
func unpin(dir string) error {
	l := &links{dir: filepath.Join(dir, "links")}
	if err := l.prune(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, part := range []string{"links", "maps", ""} {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			return fmt.Errorf("unpin: %w", err)
		}
	}
	return nil
}

// Uninstall detaches everything below dir and removes it, but for dir itself:
// the node is without Services and policy afterwards. Call it in the node's
// network namespace.
func Uninstall(dir string) error {
	f, err := newFilters("")
	if err != nil {
		return err
	}
	defer f.close()
	if err := errors.Join(f.removeOthers(toDevice), f.removeOthers(fromDevice)); err != nil {
		return err
	}
	dirs, err := layouts(dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if err := unpin(d); err != nil {
			return err
		}
	}
	return nil
}
