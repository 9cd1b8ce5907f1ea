package kube

import (
	"slices"

	"github.com/fairway-net/fairway/internal/model"
)

// interner makes one of equal strings: names of namespaces, nodes, zones and
// ports, which every endpoint of a cluster would have its own copy of. The
// decoder makes a new string of each.
type interner map[string]string

// plenty is how many strings are kept: beyond it they are not so common after all.
const plenty = 1 << 16

func (in interner) one(s string) string {
	if s == "" {
		return ""
	}
	if have, ok := in[s]; ok {
		return have
	}
	if len(in) >= plenty {
		clear(in)
	}
	in[s] = s
	return s
}

// object makes the strings of v the common ones. v is new, nobody else has it yet.
func (in interner) object(v any) {
	switch v := v.(type) {
	case *model.Service:
		v.Namespace = in.one(v.Namespace)
		for i := range v.Ports {
			p := &v.Ports[i]
			p.Name, p.TargetPort.Str, p.AppProtocol = in.one(p.Name), in.one(p.TargetPort.Str), in.one(p.AppProtocol)
		}
	case *model.EndpointSlice:
		v.Namespace = in.one(v.Namespace)
		for i := range v.Ports {
			v.Ports[i].Name, v.Ports[i].AppProtocol = in.one(v.Ports[i].Name), in.one(v.Ports[i].AppProtocol)
		}
		v.Endpoints = slices.Clip(v.Endpoints)
		for i := range v.Endpoints {
			e := &v.Endpoints[i]
			e.Node, e.Zone = in.one(e.Node), in.one(e.Zone)
			in.all(e.ZoneHints)
			in.all(e.NodeHints)
		}
	case *model.Pod:
		v.Namespace, v.Node = in.one(v.Namespace), in.one(v.Node)
	}
}

func (in interner) all(list []string) {
	for i := range list {
		list[i] = in.one(list[i])
	}
}
