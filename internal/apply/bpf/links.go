package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// links are the attachments of the programs, each pinned under a name.
type links struct {
	dir  string
	open map[string]link.Link
}

func newLinks(dir string) (*links, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make pin directory: %w", err)
	}
	return &links{dir: dir, open: map[string]link.Link{}}, nil
}

func (l *links) close() {
	for _, k := range l.open {
		k.Close()
	}
	l.open = nil
}

// ensure makes the link called name run prog at the target that fits knows: it
// swaps the program of the pinned link if there is one and attaches otherwise.
func (l *links) ensure(name string, prog *ebpf.Program, fits func(*link.Info) bool, attach func() (link.Link, error)) error {
	path := filepath.Join(l.dir, name)
	if k := l.open[name]; k != nil { // ours already: only its target may have changed
		if info, err := k.Info(); err == nil && fits(info) {
			return nil
		}
		if err := l.remove(name); err != nil {
			return err
		}
	}
	if old, err := link.LoadPinnedLink(path, nil); err == nil {
		info, err := old.Info()
		if err == nil && fits(info) && old.Update(prog) == nil {
			l.open[name] = old
			return nil
		}
		// The cgroup or device it was for is gone: the link is an empty shell.
		old.Close()
		if err := l.remove(name); err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open link %s: %w", name, err)
	}
	fresh, err := attach()
	if err != nil {
		return fmt.Errorf("attach %s: %w", name, err)
	}
	if err := fresh.Pin(path); err != nil {
		fresh.Close()
		return fmt.Errorf("pin link %s: %w", name, err)
	}
	l.open[name] = fresh
	return nil
}

// remove detaches the link called name, if there is one. It detaches by name
// and not by letting go, which the kernel would get round to only later.
func (l *links) remove(name string) error {
	path := filepath.Join(l.dir, name)
	k := l.open[name]
	if k == nil {
		var err error
		if k, err = link.LoadPinnedLink(path, nil); errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("open link %s: %w", name, err)
		}
	}
	delete(l.open, name)
	// A link whose device is gone has nothing to detach from, and says so.
	detached := k.Detach()
	k.Close()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpin link %s: %w", name, err)
	}
	if detached != nil && !errors.Is(detached, unix.ENOLINK) {
		return fmt.Errorf("detach %s: %w", name, detached)
	}
	return nil
}

// prune detaches what an earlier version has attached and this one has not.
func (l *links) prune() error {
	pins, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, p := range pins {
		if l.open[p.Name()] == nil {
			if err := l.remove(p.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// tcx attaches prog to a device in one direction.
func (l *links) tcx(name string, prog *ebpf.Program, ifindex int, at ebpf.AttachType) error {
	fits := func(i *link.Info) bool { t := i.TCX(); return t != nil && int(t.Ifindex) == ifindex }
	return l.ensure(name, prog, fits, func() (link.Link, error) {
		return link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: prog, Attach: at})
	})
}

// cgroup attaches prog to a cgroup2 directory.
func (l *links) cgroup(name string, prog *ebpf.Program, dir string, at ebpf.AttachType) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("stat cgroup %s: %w", dir, err)
	}
	// The id of a cgroup is its inode number (kernfs).
	fits := func(i *link.Info) bool { c := i.Cgroup(); return c != nil && c.CgroupId == st.Ino }
	return l.ensure(name, prog, fits, func() (link.Link, error) {
		return link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: at, Program: prog})
	})
}

// attach puts the programs of the node in place: first the packet hooks, which
// do nothing without Services, then the sockets'. What is not there to be
// attached to keeps nothing else from working; Check tries it again.
func (d *Datapath) attach() error {
	var err error
	if d.links, err = newLinks(filepath.Join(d.dir(), "links")); err != nil {
		return err
	}
	if d.filters, err = newFilters(d.layout); err != nil {
		return err
	}
	if d.groups, err = newGroups(); err != nil {
		return err
	}
	for _, t := range d.mend() {
		d.log.Error("programs are not attached", "reason", t.Reason, "err", t.Err, "fix", t.Fix)
	}
	for ifindex := range d.pods {
		if _, gone := net.InterfaceByIndex(ifindex); gone != nil {
			err = d.forgetPod(ifindex) // the kernel never gives its number again
		} else {
			err = d.attachPodFilters(ifindex)
		}
		if err != nil {
			return err
		}
	}
	return d.links.prune()
}

// Check looks whether the programs are attached where they should be: devices
// and cgroups come and go, and a program's attachment with them. It mends what
// it can and returns what it cannot. uplink is the device's name now, "" if there
// is none; cgroup the node's if it was not known before. Call it in the node's
// network namespace.
func (d *Datapath) Check(uplink, cgroup string) []Trouble {
	d.mu.Lock()
	defer d.mu.Unlock()
	if uplink != "" && d.o.Uplink != "" {
		d.o.Uplink = uplink
	}
	if cgroup != "" && d.o.Cgroup == "" {
		d.o.Cgroup = cgroup
	}
	return d.mend()
}

// mend attaches what is not attached.
func (d *Datapath) mend() []Trouble {
	var out []Trouble
	if err := d.attachUplink(); err != nil {
		out = append(out, Trouble{reasonUplink, err, fmt.Sprintf("bring the device %s back with the node's address: until then nobody outside reaches this node's Services", d.o.Uplink)})
	}
	if err := d.attachSockets(); err != nil {
		out = append(out, Trouble{reasonSockets, err, "mount cgroup2 and give the agent the host's /sys/fs/cgroup: until then the node's own programs reach no Service; pods do"})
	}
	return out
}

func (d *Datapath) attachUplink() error {
	if d.o.Uplink == "" {
		return nil
	}
	dev, err := uplinkOf(d.o.Uplink)
	if err != nil {
		return err
	}
	if err := d.links.tcx("from_net", d.objs.FromNet, dev.Index, ebpf.AttachTCXIngress); err != nil {
		return err
	}
	if err := d.links.tcx("to_net", d.objs.ToNet, dev.Index, ebpf.AttachTCXEgress); err != nil {
		return err
	}
	another := d.uplink != 0 && d.uplink != dev.Index
	d.uplink = dev.Index
	if !another {
		return nil
	}
	d.log.Info("the uplink is another device now", "uplink", d.o.Uplink, "ifindex", dev.Index)
	clear(d.groups.joined) // the memberships went with the device
	return d.applyVIPs()   // which neighbours find by its hardware address
}

func (d *Datapath) attachSockets() error {
	if d.o.Cgroup == "" {
		return nil
	}
	for _, h := range []struct {
		prog *ebpf.Program
		name string
		at   ebpf.AttachType
	}{
		// What translates back and forgets comes first, so that no socket is ever half served.
		{d.objs.SockRelease, kernelProgSockRelease, ebpf.AttachCgroupInetSockRelease},
		{d.objs.Recvmsg4, kernelProgRecvmsg4, ebpf.AttachCGroupUDP4Recvmsg},
		{d.objs.Recvmsg6, kernelProgRecvmsg6, ebpf.AttachCGroupUDP6Recvmsg},
		{d.objs.Getpeername4, kernelProgGetpeername4, ebpf.AttachCgroupInet4GetPeername},
		{d.objs.Getpeername6, kernelProgGetpeername6, ebpf.AttachCgroupInet6GetPeername},
		{d.objs.Sendmsg4, kernelProgSendmsg4, ebpf.AttachCGroupUDP4Sendmsg},
		{d.objs.Sendmsg6, kernelProgSendmsg6, ebpf.AttachCGroupUDP6Sendmsg},
		{d.objs.Connect4, kernelProgConnect4, ebpf.AttachCGroupInet4Connect},
		{d.objs.Connect6, kernelProgConnect6, ebpf.AttachCGroupInet6Connect},
	} {
		if err := d.links.cgroup(h.name, h.prog, d.o.Cgroup, h.at); err != nil {
			return err
		}
	}
	return nil
}
