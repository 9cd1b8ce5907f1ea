package bpf

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/fairway-net/fairway/internal/plan/service"
)

// portDigest is the name of a service port: digestOf(key, family, name,
// protocol), without the detour through reflection.
func portDigest(key service.Key, p *service.Port) digest {
	b := make([]byte, 0, 128)
	b = append(b, key.Kind.String()...)
	b = append(b, ' ')
	if key.Namespace != "" {
		b = append(append(b, key.Namespace...), '/')
	}
	b = append(append(b, key.Name.Name...), 0)
	b = append(strconv.AppendUint(b, uint64(p.Family), 10), 0)
	b = append(append(b, p.Name...), 0)
	b = append(append(b, p.Protocol.String()...), 0)
	sum := sha256.Sum256(b)
	return digest(sum[:16])
}

// setDigest is the name of a backend set: digestOf(backends), likewise.
func setDigest(backends []service.Backend) digest {
	b := make([]byte, 0, 512)
	for i, backend := range backends {
		b = append(b, "[{"[min(i, 1):]...) // "[{" first, then "{"
		b = backend.Addr.AppendTo(b)
		b = strconv.AppendBool(append(b, ' '), backend.Local)
		b = append(b, "} "...)
	}
	if len(b) == 0 {
		b = append(b, "[ "...)
	}
	b[len(b)-1] = ']'
	sum := sha256.Sum256(append(b, 0))
	return digest(sum[:16])
}

// localMember marks a member on this node; the lower bits say in which sets it is.
const localMember = 1 << 31

// member is an entry of the map members without its service.
type member struct {
	addr kernelAddr
	port uint16 // network order
	sets uint32
}

func (m member) key(id uint32) kernelMemberKey {
	return kernelMemberKey{Service: id, Addr: m.addr, Port: m.port}
}

// compare orders by the key.
func (m member) compare(o member) int {
	if c := slices.Compare(m.addr.W[:], o.addr.W[:]); c != 0 {
		return c
	}
	return int(m.port) - int(o.port)
}

// membersOf returns the members of p, sorted.
func membersOf(p *service.Port) []member {
	out := make([]member, 0, len(p.Serving))
	add := func(a netip.AddrPort, sets uint32) {
		m := member{addrOf(a.Addr()), swap(a.Port()), sets}
		if at, has := slices.BinarySearchFunc(out, m, member.compare); has {
			out[at].sets |= sets
		} else {
			out = slices.Insert(out, at, m)
		}
	}
	for _, a := range p.Serving {
		out = append(out, member{addr: addrOf(a.Addr()), port: swap(a.Port())})
	}
	slices.SortFunc(out, member.compare)
	out = slices.Compact(out)
	for i, set := range p.Sets {
		for _, b := range set.Backends {
			sets := uint32(1) << i
			if b.Local {
				sets |= localMember
			}
			add(b.Addr, sets)
		}
	}
	return out
}

// compareMembers calls add for what have lacks or has otherwise, and remove for
// what only have has. Either may be nil.
func compareMembers(have, want []member, add, remove func(member)) {
	for len(have)+len(want) > 0 {
		order := 0
		switch {
		case len(have) == 0:
			order = 1
		case len(want) == 0:
			order = -1
		default:
			order = have[0].compare(want[0])
		}
		if order < 0 && remove != nil {
			remove(have[0])
		}
		if add != nil && (order > 0 || order == 0 && have[0] != want[0]) {
			add(want[0])
		}
		if order <= 0 {
			have = have[1:]
		}
		if order >= 0 {
			want = want[1:]
		}
	}
}

// union returns all of both, which are sorted.
func union(a, b []member) []member {
	out := slices.Concat(a, b)
	slices.SortStableFunc(out, member.compare)
	return slices.CompactFunc(out, func(a, b member) bool { return a.compare(b) == 0 })
}

func rangesOf(id uint32, p *service.Port) []kernelRangeKey {
	var out []kernelRangeKey
	for _, r := range p.SourceRanges {
		out = append(out, kernelRangeKey{Prefixlen: 32 + prefixLen(r), Service: id, Addr: addrOf(r.Masked().Addr())})
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

// frontendsOf calls f with the map entries of p's frontends, and for Service
// addresses with the entry that catches all other ports.
func frontendsOf(id uint32, p *service.Port, setIDs []uint32, yield func(kernelFrontendKey, kernelFrontend)) {
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
		yield(k, v)
		// An external IP may be a host's own address, with ports of its own.
		if f.Kind == service.ClusterIP || f.Kind == service.LoadBalancer {
			yield(anyPort(k), kernelFrontend{Flags: feAddress})
		}
	}
}

// anyPort is the key of the entry that catches all other ports of k's address.
func anyPort(k kernelFrontendKey) kernelFrontendKey { return kernelFrontendKey{Addr: k.Addr} }

func (k kernelFrontendKey) compare(o kernelFrontendKey) int {
	if c := slices.Compare(k.Addr.W[:], o.Addr.W[:]); c != 0 {
		return c
	}
	return (int(k.Port)<<8 | int(k.Proto)) - (int(o.Port)<<8 | int(o.Proto))
}
