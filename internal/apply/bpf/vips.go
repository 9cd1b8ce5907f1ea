package bpf

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// uplinkOf finds the uplink in the namespace of the calling thread.
func uplinkOf(name string) (*net.Interface, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("find uplink %q: %w", name, err)
	}
	return dev, nil
}

// ApplyVIPs sets the addresses for which this node answers ARP on the uplink,
// and announces new ones once.
func (d *Datapath) ApplyVIPs(ctx context.Context, vips []netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	want := map[kernelAddr]kernelVip{}
	if len(vips) > 0 {
		dev, err := uplinkOf(d.o.Uplink)
		if err != nil {
			return err
		}
		if len(dev.HardwareAddr) != 6 {
			return fmt.Errorf("announce addresses on %s: not an Ethernet device", d.o.Uplink)
		}
		for _, a := range vips {
			want[addrOf(a)] = kernelVip{Mac: [6]byte(dev.HardwareAddr)}
		}
	}
	have := map[kernelAddr]bool{}
	if err := each(d.objs.Vips, func(k kernelAddr, _ kernelVip) { have[k] = true }); err != nil {
		return fmt.Errorf("read announced addresses: %w", err)
	}
	if err := replace(d.objs.Vips, want); err != nil {
		return fmt.Errorf("write announced addresses: %w", err)
	}
	for k, v := range want {
		if a := k.addr(); !have[k] && a.Is4() {
			if err := announce(d.o.Uplink, v.Mac, a); err != nil {
				d.log.Warn("neighbours were not told of an address", "address", a, "err", err)
			}
		}
	}
	return nil
}

// announce sends a gratuitous ARP request (RFC 5227 section 3), so that those
// who knew the address at another node learn of the move.
func announce(device string, mac [6]byte, a netip.Addr) error {
	dev, err := uplinkOf(device)
	if err != nil {
		return err
	}
	const etherTypeARP = 0x0806
	ip := a.As4()
	frame := make([]byte, 0, 42)
	frame = append(frame, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	frame = append(frame, mac[:]...)
	frame = append(frame, etherTypeARP>>8, etherTypeARP&0xff, 0, 1, 8, 0, 6, 4, 0, 1)
	frame = append(frame, mac[:]...)
	frame = append(frame, ip[:]...)
	frame = append(frame, 0, 0, 0, 0, 0, 0)
	frame = append(frame, ip[:]...)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: swap(etherTypeARP), Ifindex: dev.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	if err := unix.Sendto(fd, frame, 0, to); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}
