// Package announce is the applier of LoadBalancer addresses on the local
// network: it tells the datapath which addresses to answer ARP for, and tells
// the neighbours when one has moved here.
//
// It does not choose the addresses (plan/address does). The answering itself
// is in the datapath, so that it goes on when the agent does not.
package announce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Responder answers ARP for exactly the addresses it was last given.
type Responder interface {
	ApplyVIPs(ctx context.Context, vips []netip.Addr) error
}

// Announcer announces addresses on one device. Not for concurrent use.
type Announcer struct {
	device    string
	responder Responder
	log       *slog.Logger
	have      []netip.Addr
}

// New returns an Announcer for the device that carries the node's address.
func New(device string, responder Responder, log *slog.Logger) *Announcer {
	return &Announcer{device: device, responder: responder, log: log}
}

// Apply announces exactly want. Neighbours that may remember another node for
// a new address are told by gratuitous ARP (RFC 5227 section 3); that one of
// these gets lost is no error, as the neighbour asks again in time.
func (a *Announcer) Apply(ctx context.Context, want []netip.Addr) error {
	want = slices.Clone(want)
	slices.SortFunc(want, netip.Addr.Compare)
	if slices.Equal(a.have, want) {
		return nil
	}
	if err := a.responder.ApplyVIPs(ctx, want); err != nil {
		return fmt.Errorf("announce %v: %w", want, err)
	}
	for _, vip := range want {
		if slices.Contains(a.have, vip) {
			continue
		}
		a.log.Info("announcing", "address", vip, "device", a.device)
		if err := Gratuitous(a.device, vip); err != nil {
			a.log.Warn("gratuitous ARP not sent", "address", vip, "device", a.device, "err", err)
		}
	}
	a.have = want
	return nil
}

// ErrFamily says that Gratuitous knows only IPv4.
var ErrFamily = errors.New("only IPv4 addresses are announced by ARP")

// Gratuitous broadcasts on device that vip is at the device's hardware address.
func Gratuitous(device string, vip netip.Addr) error {
	if !vip.Is4() {
		return ErrFamily
	}
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	if len(dev.HardwareAddr) != 6 {
		return fmt.Errorf("device %s has no Ethernet address", device)
	}
	const proto = unix.ETH_P_ARP<<8&0xff00 | unix.ETH_P_ARP>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: dev.Index, Protocol: proto, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	return unix.Sendto(fd, arpAnnouncement(dev.HardwareAddr, vip), 0, to)
}

// arpAnnouncement is an ARP request by vip for vip (RFC 826, RFC 5227).
func arpAnnouncement(mac net.HardwareAddr, vip netip.Addr) []byte {
	ip := vip.As4()
	p := binary.BigEndian.AppendUint16(nil, 1)             // hardware: Ethernet
	p = binary.BigEndian.AppendUint16(p, 0x0800)           // protocol: IPv4
	p = append(p, 6, 4)                                    // lengths
	p = binary.BigEndian.AppendUint16(p, 1)                // request
	p = append(append(p, mac...), ip[:]...)                // sender
	return append(append(p, make([]byte, 6)...), ip[:]...) // target
}
