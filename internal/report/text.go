package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

func row(w io.Writer, cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) }

// WriteList writes one line for each frontend.
func WriteList(w io.Writer, services []Service) {
	tw := table(w)
	row(tw, "NAMESPACE", "NAME", "KIND", "ADDRESS", "BACKENDS", "KERNEL")
	for i := range services {
		s := &services[i]
		if s.Skipped != "" {
			row(tw, s.Namespace, s.Name, "-", "-", "-", "not for proxies: "+s.Skipped)
		}
		for _, p := range s.Ports {
			for _, f := range p.Frontends {
				row(tw, s.Namespace, s.Name, f.Kind, f.Address+"/"+p.Protocol, backendCount(&f, &p), s.kernelAt(f.Address+"/"+p.Protocol))
			}
		}
	}
	tw.Flush()
}

// backendCount is "2 of 3" where all clients get the same.
func backendCount(f *Frontend, p *Port) string {
	in, ex := len(f.Internal.Chosen), len(f.External.Chosen)
	if in == ex {
		return fmt.Sprintf("%d of %d", in, p.Eligible)
	}
	return fmt.Sprintf("%d of %d, others %d", in, p.Eligible, ex)
}

// kernelAt sums up what the nodes do at an address; of a difference that has no
// address, all of them do it.
func (s *Service) kernelAt(address string) string {
	var differ, silent []string
	for i := range s.Kernel {
		k := &s.Kernel[i]
		here := slices.ContainsFunc(k.Differences, func(d Difference) bool { return d.Address == "" || d.Address == address })
		switch {
		case k.Error != "":
			silent = append(silent, k.Node)
		case here:
			differ = append(differ, k.Node)
		}
	}
	switch {
	case len(differ) > 0:
		return "differs on " + some(differ)
	case len(silent) > 0:
		return "unknown on " + some(silent)
	}
	return fmt.Sprintf("as planned on %s", count(len(s.Kernel), "node"))
}

// some lists names, but not hundreds.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// WriteService writes everything about one Service.
func WriteService(w io.Writer, s *Service) {
	fmt.Fprintf(w, "Service %s/%s, %s, seen from %s\n", s.Namespace, s.Name, s.Type, s.SeenFrom)
	if s.Skipped != "" {
		fmt.Fprintf(w, "  no node answers: %s\n", s.Skipped)
	}
	if s.Affinity > 0 {
		fmt.Fprintf(w, "  a client stays with its backend for %v\n", time.Duration(s.Affinity)*time.Second)
	}
	for _, r := range s.SourceRanges {
		fmt.Fprintf(w, "  load balancer addresses admit %v\n", r)
	}
	for _, n := range s.NotAnswered {
		fmt.Fprintf(w, "  %s is not answered: %s\n", n.Address, n.Why)
	}
	if h := s.HealthCheck; h != nil {
		fmt.Fprintf(w, "  health check at port %d: %s ready on this node\n", h.Port, count(h.LocalReady, "backend"))
	}
	for _, r := range s.Rejected {
		fmt.Fprintf(w, "  rejected: %s\n", r)
	}
	for i := range s.Ports {
		fmt.Fprintln(w)
		writePort(w, &s.Ports[i], s.SeenFrom)
	}
	fmt.Fprintln(w)
	writeKernel(w, s.Kernel)
}

func writePort(w io.Writer, p *Port, node string) {
	name := ""
	if p.Name != "" {
		name = " " + p.Name
	}
	fmt.Fprintf(w, "Port%s %d/%s, %s\n", name, p.Port, p.Protocol, p.Family)
	tw := table(w)
	row(tw, "  FRONTEND", "KIND", "FROM "+node, "FROM OTHERS")
	for _, f := range p.Frontends {
		row(tw, "  "+f.Address, f.Kind, f.Internal.text(p), f.External.text(p))
	}
	tw.Flush()
	if len(p.Backends) == 0 {
		fmt.Fprintln(w, "  no backends: no EndpointSlice of the Service has any")
		return
	}
	tw = table(w)
	header := []string{"  BACKEND", "POD", "NODE", "STATE"}
	for _, v := range p.Backends[0].Policies {
		header = append(header, strings.ToUpper(v.Policy))
	}
	row(tw, append(header, "WHY")...)
	for _, b := range p.Backends {
		cells := []string{"  " + b.Address, dash(b.Pod), dash(b.Node), b.State}
		var reasons []string
		for _, v := range b.Policies {
			in := "out"
			if v.In {
				in = "in"
			}
			cells = append(cells, in)
			if v.Why != "" && !slices.Contains(reasons, v.Why) {
				reasons = append(reasons, v.Why)
			}
		}
		row(tw, append(cells, dash(strings.Join(reasons, "; ")))...)
	}
	tw.Flush()
}

func (c *Choice) text(p *Port) string {
	if c.None != "" {
		return fmt.Sprintf("%s: none, %s", c.Policy, c.None)
	}
	return fmt.Sprintf("%s: %d of %d", c.Policy, len(c.Chosen), p.Eligible)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// writeKernel lists the nodes that differ and counts the others.
func writeKernel(w io.Writer, kernel []KernelVerdict) {
	fmt.Fprintln(w, "Kernel")
	agree := 0
	for i := range kernel {
		k := &kernel[i]
		switch {
		case k.Error != "":
			fmt.Fprintf(w, "  %s: unknown: %s\n", k.Node, k.Error)
		case len(k.Differences) == 0:
			agree++
		default:
			fmt.Fprintf(w, "  %s: not as planned\n", k.Node)
			for _, d := range k.Differences {
				fmt.Fprintf(w, "    %s\n", strings.TrimSpace(d.Address+" "+d.What))
			}
		}
	}
	if agree > 0 || len(kernel) == 0 {
		fmt.Fprintf(w, "  as planned on %s\n", count(agree, "node"))
	}
}

// WriteStale writes what the kernels hold for nobody.
func WriteStale(w io.Writer, stale []KernelVerdict) {
	for _, k := range stale {
		fmt.Fprintf(w, "\nStale entries on %s\n", k.Node)
		for _, d := range k.Differences {
			fmt.Fprintf(w, "  %s %s\n", d.Address, d.What)
		}
	}
}
