package service

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
)

// Equal reports whether p and o are the same plan.
func (p *Plan) Equal(o *Plan) bool { return reflect.DeepEqual(p, o) }

// String is the plan as tests and the command line show it.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, p.Key)
	if p.HealthCheckPort != 0 {
		fmt.Fprintf(&b, "  health check at %d: %d local\n", p.HealthCheckPort, p.LocalReady)
	}
	for i := range p.Ports {
		p.Ports[i].write(&b)
	}
	for _, r := range p.Rejected {
		fmt.Fprintf(&b, "  rejected: %v\n", r)
	}
	return b.String()
}

func (p *Port) write(b *strings.Builder) {
	fmt.Fprintf(b, "  port %q %v IPv%d", p.Name, p.Protocol, p.Family)
	if p.Affinity > 0 {
		fmt.Fprintf(b, " affinity %v", p.Affinity)
	}
	if p.SourceRanges != nil {
		fmt.Fprintf(b, " only from %v", p.SourceRanges)
	}
	fmt.Fprintln(b)
	for _, f := range p.Frontends {
		fmt.Fprintf(b, "    %v %v", f.Kind, netip.AddrPortFrom(f.Addr, f.Port))
		if f.Restricted {
			fmt.Fprint(b, " restricted")
		}
		fmt.Fprintf(b, " -> %v", p.Sets[f.Internal])
		if f.External != f.Internal {
			fmt.Fprintf(b, ", others -> %v", p.Sets[f.External])
		}
		fmt.Fprintln(b)
	}
}

// String lists the backends; "refuse" and "drop" are the empty sets.
func (s Set) String() string {
	if len(s.Backends) == 0 {
		if s.Drop {
			return "drop"
		}
		return "refuse"
	}
	parts := make([]string, len(s.Backends))
	for i, b := range s.Backends {
		parts[i] = b.Addr.String()
		if b.Local {
			parts[i] += "*"
		}
	}
	return strings.Join(parts, " ")
}
