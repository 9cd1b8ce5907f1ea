package bpf

import (
	"net/netip"
	"time"

	"github.com/fairway-net/fairway/internal/plan/service"
)

// localMember marks a member on this node; the lower bits say in which sets it is.
const localMember = 1 << 31

func membersOf(id uint32, p *service.Port) map[kernelMemberKey]kernelMember {
	out := make(map[kernelMemberKey]kernelMember, len(p.Serving))
	key := func(a netip.AddrPort) kernelMemberKey {
		return kernelMemberKey{Service: id, Addr: addrOf(a.Addr()), Port: swap(a.Port())}
	}
	for _, a := range p.Serving {
		out[key(a)] = kernelMember{}
	}
	for i, set := range p.Sets {
		for _, b := range set.Backends {
			m := out[key(b.Addr)]
			m.Sets |= 1 << i
			if b.Local {
				m.Sets |= localMember
			}
			out[key(b.Addr)] = m
		}
	}
	return out
}

func rangesOf(id uint32, p *service.Port) map[kernelRangeKey]struct{} {
	out := make(map[kernelRangeKey]struct{}, len(p.SourceRanges))
	for _, r := range p.SourceRanges {
		out[kernelRangeKey{Prefixlen: 32 + prefixLen(r), Service: id, Addr: addrOf(r.Masked().Addr())}] = struct{}{}
	}
	return out
}

// Flags of struct frontend, as in bpf/lib/types.h.
const (
	feInternalDrop = 1 << iota
	feExternalDrop
	feRestricted
	feAddress
	feInternalBit = 8
	feExternalBit = 12
)

// frontendsOf returns the map entries of p's frontends, and for Service
// addresses the entry that catches all other ports.
func frontendsOf(id uint32, p *service.Port, setIDs []uint32) map[kernelFrontendKey]kernelFrontend {
	out := make(map[kernelFrontendKey]kernelFrontend, len(p.Frontends))
	for _, f := range p.Frontends {
		v := kernelFrontend{
			Service: id, Affinity: uint32(p.Affinity / time.Second),
			Internal: setIDs[f.Internal], N_internal: uint32(len(p.Sets[f.Internal].Backends)),
			External: setIDs[f.External], N_external: uint32(len(p.Sets[f.External].Backends)),
			Flags: uint32(f.Internal)<<feInternalBit | uint32(f.External)<<feExternalBit,
		}
		if p.Sets[f.Internal].Drop {
			v.Flags |= feInternalDrop
		}
		if p.Sets[f.External].Drop {
			v.Flags |= feExternalDrop
		}
		if f.Restricted {
			v.Flags |= feRestricted
		}
		k := kernelFrontendKey{Addr: addrOf(f.Addr), Port: swap(f.Port), Proto: uint8(p.Protocol)}
		out[k] = v
		// An external IP may be a host's own address, with ports of its own.
		if f.Kind == service.ClusterIP || f.Kind == service.LoadBalancer {
			out[kernelFrontendKey{Addr: k.Addr}] = kernelFrontend{Flags: feAddress}
		}
	}
	return out
}
