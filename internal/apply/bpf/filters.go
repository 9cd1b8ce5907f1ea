package bpf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// filters attach programs to the links of pods, as direct-action filters of a
// clsact qdisc. TCX would do the same, but each of its attachments waits for
// an RCU grace period under the kernel's network lock (tcx_entry_sync), which
// a pod would pay for twice and ten pods together ten times.
//
// A filter lives on its device and dies with it: nothing is pinned. The filter
// of another layout stays in front until it is removed, and decides until
// then, for a program that gives a verdict ends the list.
type filters struct {
	nl   *netlink.Handle // of the namespace of the thread that made it
	name string          // of the filters: filterPrefix and the layout
}

const filterPrefix = "fairway/"

func newFilters(layout string) (*filters, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &filters{nl: nl, name: filterPrefix + layout}, nil
}

func (f *filters) close() { f.nl.Close() }

// Where a filter can be. Directions are the device's, seen from the node.
const (
	fromDevice = netlink.HANDLE_MIN_INGRESS
	toDevice   = netlink.HANDLE_MIN_EGRESS
)

// ensure makes the device run prog for one direction. A program that is there
// under our name is replaced in one step (list_replace_rcu in cls_bpf).
func (f *filters) ensure(ifindex int, at uint32, prog *ebpf.Program) error {
	err := f.nl.QdiscAdd(clsact(ifindex))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact to ifindex %d: %w", ifindex, err)
	}
	want := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: at, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          prog.FD(), Name: f.name, DirectAction: true,
	}
	if err != nil { // it is not new, so there may be others
		others, err := f.on(ifindex, at)
		if err != nil {
			return err
		}
		for _, o := range others {
			if o.Name == f.name {
				want.Handle, want.Priority = o.Handle, o.Priority
				break
			}
			want.Priority = max(want.Priority, o.Priority+1)
		}
	}
	if err := f.nl.FilterReplace(want); err != nil {
		return fmt.Errorf("add filter to ifindex %d: %w", ifindex, err)
	}
	return nil
}

func clsact(ifindex int) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

// on lists the filters of any version of Fairway on a device.
func (f *filters) on(ifindex int, at uint32) ([]*netlink.BpfFilter, error) {
	all, err := f.nl.FilterList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}, at)
	if err != nil {
		return nil, fmt.Errorf("list filters of ifindex %d: %w", ifindex, err)
	}
	var ours []*netlink.BpfFilter
	for _, x := range all {
		if b, ok := x.(*netlink.BpfFilter); ok && strings.HasPrefix(b.Name, filterPrefix) {
			ours = append(ours, b)
		}
	}
	return ours, nil
}

// removeOthers removes the filters of other layouts from all devices, for one
// direction.
func (f *filters) removeOthers(at uint32) error {
	devices, err := f.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, dev := range devices {
		ours, err := f.on(dev.Attrs().Index, at)
		if errors.Is(err, unix.ENODEV) {
			continue // gone since
		}
		errs = append(errs, err)
		for _, x := range ours {
			if x.Name == f.name {
				continue
			}
			if err := f.nl.FilterDel(x); err != nil && !errors.Is(err, unix.ENODEV) {
				errs = append(errs, fmt.Errorf("remove filter %s of %s: %w", x.Name, dev.Attrs().Name, err))
			}
		}
	}
	return errors.Join(errs...)
}
