package bpf

import (
	"context"
	"encoding/binary"
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

// ApplyVIPs sets the addresses for which this node answers ARP and NDP on the uplink,
// and announces new ones once.
func (d *Datapath) ApplyVIPs(ctx context.Context, vips []netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.vips = vips
	return d.applyVIPs()
}

// applyVIPs does so with the uplink as it is now.
func (d *Datapath) applyVIPs() error {
	vips := d.vips
	want := map[kernelPrefixKey]kernelVip{}
	if len(vips) > 0 || len(d.groups.joined) > 0 {
		dev, err := uplinkOf(d.o.Uplink)
		if err != nil {
			return err
		}
		if len(dev.HardwareAddr) != 6 {
			return fmt.Errorf("announce addresses on %s: not an Ethernet device", d.o.Uplink)
		}
		for _, a := range vips {
			want[prefixOf(netip.PrefixFrom(a, a.BitLen()))] = kernelVip{Mac: [6]byte(dev.HardwareAddr)}
		}
		if err := d.groups.apply(dev.Index, vips); err != nil {
			d.log.Warn("neighbours may not find an address", "err", err)
		}
	}
	have := map[kernelPrefixKey]bool{}
	if err := each(d.objs.Vips, func(k kernelPrefixKey, _ kernelVip) { have[k] = true }); err != nil {
		return fmt.Errorf("read announced addresses: %w", err)
	}
	if err := replace(d.objs.Vips, want); err != nil {
		return fmt.Errorf("write announced addresses: %w", err)
	}
	for k, v := range want {
		if a := k.Addr.addr(); !have[k] {
			if err := announce(d.o.Uplink, v.Mac, a); err != nil {
				d.log.Warn("neighbours were not told of an address", "address", a, "err", err)
			}
		}
	}
	return nil
}

// announce tells everybody on the segment, so that those who knew the address
// at another node learn of the move.
func announce(device string, mac [6]byte, a netip.Addr) error {
	dev, err := uplinkOf(device)
	if err != nil {
		return err
	}
	tell := gratuitousARP
	if a.Is6() {
		tell = unsolicitedNA
	}
	frame := tell(mac, a)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: swap(binary.BigEndian.Uint16(frame[12:])), Ifindex: dev.Index, Halen: 6, Addr: [8]byte(frame[:8])}
	if err := unix.Sendto(fd, frame, 0, to); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// gratuitousARP is a request for an address by whoever has it (RFC 5227
// section 3).
func gratuitousARP(mac [6]byte, a netip.Addr) []byte {
	ip := a.As4()
	frame := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	frame = append(frame, mac[:]...)
	frame = append(frame, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
	frame = append(frame, mac[:]...)
	frame = append(frame, ip[:]...)
	frame = append(frame, 0, 0, 0, 0, 0, 0)
	return append(frame, ip[:]...)
}

// unsolicitedNA is a neighbour advertisement that nobody asked for, to all
// nodes, that overrides what they know (RFC 4861 section 7.2.6).
func unsolicitedNA(mac [6]byte, a netip.Addr) []byte {
	const icmp6, advertisement, override, targetLinkAddr = 58, 136, 0x20, 2
	ip, all := a.As16(), netip.MustParseAddr("ff02::1").As16()
	message := []byte{advertisement, 0, 0, 0, override, 0, 0, 0}
	message = append(message, ip[:]...)
	message = append(message, targetLinkAddr, 1)
	message = append(message, mac[:]...)

	header := append(ip[:], all[:]...)
	pseudo := append(header, 0, 0, 0, byte(len(message)), 0, 0, 0, icmp6)
	sum := uint32(0)
	for b := append(pseudo, message...); len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum))

	frame := []byte{0x33, 0x33, 0, 0, 0, 1}
	frame = append(frame, mac[:]...)
	frame = append(frame, 0x86, 0xdd, 6<<4, 0, 0, 0, 0, byte(len(message)), icmp6, 255)
	frame = append(frame, header[:32]...)
	return append(frame, message...)
}
