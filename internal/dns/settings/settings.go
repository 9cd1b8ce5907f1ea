// Package settings reads what an operator says about DNS: the key "dns" of the
// ConfigMap fairway-config, one statement per line.
//
//	# names outside the cluster; without this line the node's own servers
//	upstream 192.0.2.53 tls://192.0.2.54#dns.example
//	# names of a domain, asked nowhere else
//	stub corp.example 10.0.0.53 10.0.1.53:5353
//	# of cluster names, in seconds
//	ttl 30
//	# names below pod: insecure (any address; the default), verified, disabled
//	pods verified
//	# walk the search path of pods in these namespaces for them; * for all
//	search-completion team-a team-b
//	# log one query in 1000
//	log 1000
//
// It only parses and prints; an error names the line, and the caller keeps what
// it had.
package settings

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dns/forward"
	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/dns/wire"
)

// Key is the ConfigMap's key, and so the name of the file.
const Key = "dns"

// MaxTTL is the longest TTL of cluster names: clients keep a wrong answer for as long.
const MaxTTL = 3600

// Settings is the content. A zero field was not set.
type Settings struct {
	Upstreams []forward.Server
	Stubs     []forward.Stub
	TTL       *uint32
	Pods      index.PodMode
	Search    []string // namespaces, or "*"
	Log       uint32   // one query in so many; 0: none
}

// Parse reads text. zone is the cluster's, which cannot be asked elsewhere. All
// mistakes are reported, each with its line. The Settings that come with them are
// for those who have no earlier ones: what is right counts, and names whose
// servers are in doubt have none (Upstreams is empty but not nil) rather than
// being asked where they should not.
func Parse(text, zone string) (Settings, error) {
	var s Settings
	var errs []error
	seen := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(" "+line, " #")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		id := words[0]
		if id == "stub" && len(words) > 1 {
			words[1] = domain(words[1])
			id += " " + words[1]
		}
		err := s.statement(words, zone)
		if at := seen[id]; err == nil && at > 0 {
			err = fmt.Errorf("%s: given in line %d already", id, at)
		}
		seen[id] = i + 1
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", i+1, err))
		}
	}
	return s, errors.Join(errs...)
}

func (s *Settings) statement(words []string, zone string) (err error) {
	switch args := words[1:]; words[0] {
	case "upstream":
		if s.Upstreams, err = servers(args); err != nil {
			s.Upstreams = []forward.Server{}
		}
		return err
	case "stub":
		if len(args) < 2 {
			return errors.New("want: stub DOMAIN SERVER…")
		}
		if _, ok := wire.PackName(args[0]); !ok || args[0] == "" {
			return fmt.Errorf("stub %q: not a domain name; all other names are \"upstream\"", args[0])
		}
		if z := domain(zone); args[0] == z || strings.HasSuffix(args[0], "."+z) {
			return fmt.Errorf("stub %s: it is in the cluster's own zone %s, which is answered here", args[0], z)
		}
		list, err := servers(args[1:])
		s.Stubs = append(s.Stubs, forward.Stub{Domain: args[0], Servers: list})
		return err
	case "ttl":
		if len(args) != 1 {
			return errors.New("want: ttl SECONDS")
		}
		n, err := strconv.ParseUint(args[0], 10, 32)
		if err != nil || n > MaxTTL {
			return fmt.Errorf("ttl %q: want a number of seconds up to %d", args[0], MaxTTL)
		}
		ttl := uint32(n)
		s.TTL = &ttl
		return nil
	case "pods":
		if len(args) == 1 {
			if m, ok := index.ParsePodMode(args[0]); ok {
				s.Pods = m
				return nil
			}
		}
		return errors.New("want: pods insecure, pods verified or pods disabled")
	case "search-completion":
		return s.search(args)
	case "log":
		n := uint64(0)
		if len(args) == 1 {
			n, err = strconv.ParseUint(args[0], 10, 32)
		}
		if n == 0 || err != nil {
			return errors.New("want: log N, to log one query in N; without the line none is")
		}
		s.Log = uint32(n)
		return nil
	}
	return fmt.Errorf("unknown statement %q: there are upstream, stub, ttl, pods, search-completion and log", words[0])
}

func (s *Settings) search(namespaces []string) error {
	if len(namespaces) == 0 {
		return errors.New("want: search-completion NAMESPACE…, or * for all")
	}
	for i, n := range namespaces {
		if n != "*" && !label(n) {
			return fmt.Errorf("search-completion %q: not the name of a namespace", n)
		}
		if slices.Contains(namespaces[:i], n) {
			return fmt.Errorf("search-completion %s: given twice", n)
		}
	}
	s.Search = namespaces
	return nil
}

// label reports whether s is a DNS label as Kubernetes has them (RFC 1123).
func label(s string) bool {
	return len(s) <= 63 && strings.Trim(s, "-") == s && s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func servers(words []string) ([]forward.Server, error) {
	if len(words) == 0 {
		return nil, errors.New("no server: want ADDRESS, ADDRESS:PORT or tls://ADDRESS#NAME")
	}
	var out []forward.Server
	for _, w := range words {
		s, err := forward.ParseServer(w)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, s) {
			return nil, fmt.Errorf("server %s: given twice", s)
		}
		out = append(out, s)
	}
	return out, nil
}

func domain(s string) string { return strings.ToLower(strings.Trim(s, ".")) }

// String is what Parse reads.
func (s Settings) String() string {
	var b strings.Builder
	line := func(head string, list []forward.Server) {
		b.WriteString(head)
		for _, server := range list {
			b.WriteString(" " + server.String())
		}
		b.WriteByte('\n')
	}
	if len(s.Upstreams) > 0 {
		line("upstream", s.Upstreams)
	}
	for _, stub := range s.Stubs {
		line("stub "+stub.Domain, stub.Servers)
	}
	if s.TTL != nil {
		fmt.Fprintf(&b, "ttl %d\n", *s.TTL)
	}
	if s.Pods != index.PodsInsecure {
		fmt.Fprintf(&b, "pods %v\n", s.Pods)
	}
	if len(s.Search) > 0 {
		fmt.Fprintf(&b, "search-completion %s\n", strings.Join(s.Search, " "))
	}
	if s.Log > 0 {
		fmt.Fprintf(&b, "log %d\n", s.Log)
	}
	return b.String()
}
