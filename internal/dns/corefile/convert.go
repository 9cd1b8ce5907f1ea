package corefile

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dns/forward"
	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/settings"
)

// Note tells what became of one line.
type Note struct {
	Line int
	Text string // the line's words
	Kept bool   // it has the same effect here, by a setting or without one
	Why  string
}

// builtin are the plugins whose effect is there without being asked for.
func builtin(plugin string) string {
	switch plugin {
	case "errors":
		return "errors are logged"
	case "health", "ready", "lameduck":
		return "served as /livez and /readyz on --health; see --lame-duck"
	case "prometheus":
		return "served as /metrics on --health"
	case "cache":
		return "other names are cached as long as their TTL says, cluster names never"
	case "loop":
		return "this server never asks itself"
	case "reload":
		return "the ConfigMap is read again when it changes"
	case "loadbalance":
		return "addresses are rotated"
	case "bufsize":
		return "answers over UDP are at most 1232 bytes"
	case "minimal":
		return "answers carry what was asked for and no more"
	}
	return ""
}

// Convert says blocks in our settings. zone is the cluster's.
func Convert(blocks []Block, zone string) (settings.Settings, []Note) {
	c := converter{zone: strings.ToLower(strings.Trim(zone, "."))}
	for _, b := range blocks {
		if len(b.Keys) == 1 && strings.HasPrefix(b.Keys[0], "(") {
			c.lost(Directive{Line: b.Line, Words: b.Keys}, "snippets are not read: write their lines where they are imported")
			continue
		}
		for _, key := range b.Keys {
			name, ok := origin(key)
			if !ok {
				c.lost(Directive{Line: b.Line, Words: []string{key}}, "it is not served over plain DNS on port 53")
				continue
			}
			for _, d := range b.Lines {
				c.directive(name, d)
			}
		}
	}
	return c.out, c.notes
}

type converter struct {
	zone  string
	out   settings.Settings
	notes []Note
}

func (c *converter) kept(d Directive, why string) { c.note(d, true, why) }
func (c *converter) lost(d Directive, why string) { c.note(d, false, why) }
func (c *converter) note(d Directive, kept bool, why string) {
	n := Note{d.Line, strings.Join(d.Words, " "), kept, why}
	for _, old := range c.notes {
		if old == n { // a block of several zones
			return
		}
	}
	c.notes = append(c.notes, n)
}

// origin is the domain of a block's key; ok is false for other protocols and ports.
func origin(key string) (string, bool) {
	key, plain := strings.CutPrefix(key, "dns://")
	if !plain && strings.Contains(key, "://") {
		return "", false
	}
	name, port, found := strings.Cut(key, ":")
	return strings.ToLower(strings.Trim(name, ".")), !found || port == "53"
}

func (c *converter) directive(origin string, d Directive) {
	switch plugin := d.Words[0]; plugin {
	case "kubernetes":
		c.kubernetes(origin, d)
	case "forward", "proxy":
		c.forward(origin, d)
	case "autopath":
		c.out.Search = []string{"*"}
		c.kept(d, "search-completion, for all namespaces")
	case "log":
		if c.out.Log = 1; len(d.Words) > 1 || len(d.Lines) > 0 {
			c.lost(d, "all queries are logged, in the log's own format: log N samples them")
			return
		}
		c.kept(d, "log; log N samples")
	default:
		if why := builtin(plugin); why != "" {
			c.kept(d, why)
			return
		}
		c.lost(d, "plugin "+plugin+" has no counterpart")
	}
}

func (c *converter) kubernetes(origin string, d Directive) {
	zones := d.Words[1:]
	if len(zones) == 0 {
		zones = []string{origin}
	}
	for _, z := range zones {
		z = strings.ToLower(strings.Trim(z, "."))
		if z != c.zone && !strings.HasSuffix(z, "in-addr.arpa") && !strings.HasSuffix(z, "ip6.arpa") {
			c.lost(d, fmt.Sprintf("the cluster's zone is %s here, not %s: set clusterDomain", c.zone, z))
			return
		}
	}
	c.kept(d, "the cluster's names and the reverse names of its addresses")
	for _, o := range d.Lines {
		arg := strings.Join(o.Words[1:], " ")
		switch o.Words[0] {
		case "ttl":
			n, err := strconv.ParseUint(arg, 10, 32)
			if err != nil || n > settings.MaxTTL {
				c.lost(o, fmt.Sprintf("not a number of seconds up to %d", settings.MaxTTL))
				continue
			}
			ttl := uint32(n)
			c.out.TTL = &ttl
			c.kept(o, "ttl")
		case "pods":
			m, ok := index.ParsePodMode(arg)
			if !ok {
				c.lost(o, "there are pods insecure, verified and disabled")
				continue
			}
			c.out.Pods = m
			c.kept(o, "pods")
		case "fallthrough":
			c.kept(o, "reverse names of other addresses are asked upstream")
		default:
			c.lost(o, "option "+o.Words[0]+" has no counterpart")
		}
	}
}

func (c *converter) forward(block string, d Directive) {
	if len(d.Words) < 3 {
		c.lost(d, "want forward FROM TO…")
		return
	}
	from := strings.ToLower(strings.Trim(d.Words[1], "."))
	if from == "" {
		from = block
	} else if block != "" && from != block && !strings.HasSuffix(from, "."+block) {
		c.lost(d, fmt.Sprintf("%s is not in the block's zone %s: it is never asked", from, block))
		return
	}
	if from == c.zone || strings.HasSuffix(from, "."+c.zone) {
		c.lost(d, "it is in the cluster's own zone, which is answered here")
		return
	}
	var name string
	for _, o := range d.Lines {
		if o.Words[0] == "tls_servername" && len(o.Words) == 2 {
			name = o.Words[1]
		}
	}
	var servers []forward.Server
	for _, to := range d.Words[2:] {
		if to == "/etc/resolv.conf" && from == "" && len(d.Words) == 3 {
			c.kept(d, "the node's own servers are the default")
			c.options(d)
			return
		}
		s, err := server(to, name)
		if err != nil {
			c.lost(d, err.Error())
			return
		}
		servers = append(servers, s)
	}
	if from == "" && c.out.Upstreams != nil {
		c.lost(d, "upstream is set by an earlier line")
		return
	}
	// What settings refuse, such as a domain given twice, is refused here.
	next := c.out
	next.Stubs = slices.Clip(next.Stubs)
	if from == "" {
		next.Upstreams = servers
	} else {
		next.Stubs = append(next.Stubs, forward.Stub{Domain: from, Servers: servers})
	}
	if _, err := settings.Parse(next.String(), c.zone); err != nil {
		_, why, _ := strings.Cut(err.Error(), ": ") // after the line, which is not the Corefile's
		c.lost(d, why)
		return
	}
	c.out = next
	c.kept(d, "asked of the same servers")
	c.options(d)
}

// server reads a TO of forward. name is that of tls_servername.
func server(to, name string) (forward.Server, error) {
	to = strings.TrimPrefix(to, "dns://")
	if rest, secure := strings.CutPrefix(to, "tls://"); secure {
		rest, inline, ok := strings.Cut(rest, "%")
		if ok {
			name = inline
		}
		if name != "" {
			rest += "#" + name
		}
		return forward.ParseServer("tls://" + rest)
	}
	if strings.Contains(to, "://") || strings.HasPrefix(to, "/") {
		return forward.Server{}, fmt.Errorf("%s: servers are given by address, with UDP, TCP or TLS", to)
	}
	s, err := forward.ParseServer(to)
	if _, e := netip.ParseAddr(strings.Trim(to, "[]")); err != nil && e != nil {
		return s, fmt.Errorf("%s: servers are given by address", to)
	}
	return s, err
}

// options notes those of forward.
func (c *converter) options(d Directive) {
	for _, o := range d.Lines {
		switch o.Words[0] {
		case "tls_servername":
			c.kept(o, "the certificate's name")
		case "max_concurrent":
			c.kept(o, "questions under way are bounded")
		case "prefer_udp":
			c.kept(o, "UDP first, TCP where an answer is cut off")
		case "expire", "health_check", "max_fails", "max_idle_conns", "max_age":
			c.kept(o, "servers are judged by the answers to real questions")
		case "policy":
			if len(o.Words) == 2 && o.Words[1] == "sequential" {
				c.kept(o, "servers are asked in their order")
				continue
			}
			c.lost(o, "servers are asked in their order")
		default:
			c.lost(o, "option "+o.Words[0]+" of forward has no counterpart")
		}
	}
}
