package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dns/forward"
)

// Keys of the ConfigMap kube-system/kube-dns, and so the names of its files.
const (
	KeyStubDomains = "stubDomains"
	KeyUpstreams   = "upstreamNameservers"
)

// ParseKubeDNS reads what operators have said to kube-dns, and since then to
// whatever came in its place: stubDomains is a JSON object of domains and their
// servers, upstreamNameservers a JSON list of servers. An empty text says
// nothing. All mistakes are reported, each with its key.
func ParseKubeDNS(stubDomains, upstreams, zone string) (Settings, error) {
	var s Settings
	var errs []error
	if strings.TrimSpace(stubDomains) != "" {
		var stubs map[string][]string
		if err := json.Unmarshal([]byte(stubDomains), &stubs); err != nil {
			errs = append(errs, fmt.Errorf("key %s: %w; want {\"corp.example\": [\"10.0.0.53\"]}", KeyStubDomains, err))
		}
		for _, d := range slices.Sorted(maps.Keys(stubs)) {
			if err := s.statement(append([]string{"stub", domain(d)}, stubs[d]...), zone); err != nil {
				errs = append(errs, fmt.Errorf("key %s: %w", KeyStubDomains, err))
			}
		}
	}
	if strings.TrimSpace(upstreams) != "" {
		var list []string
		if err := json.Unmarshal([]byte(upstreams), &list); err != nil {
			errs = append(errs, fmt.Errorf("key %s: %w; want [\"192.0.2.53\"]", KeyUpstreams, err))
		} else if len(list) > 0 {
			if err := s.statement(append([]string{"upstream"}, list...), zone); err != nil {
				errs = append(errs, fmt.Errorf("key %s: %w", KeyUpstreams, err))
			}
		}
	}
	return s, errors.Join(errs...)
}

// Over returns what counts where both s and below say something: s does.
func (s Settings) Over(below Settings) Settings {
	if s.Upstreams == nil {
		s.Upstreams = below.Upstreams
	}
	own := len(s.Stubs)
	s.Stubs = slices.Clone(s.Stubs)
	for _, stub := range below.Stubs {
		if !slices.ContainsFunc(s.Stubs[:own], func(have forward.Stub) bool { return have.Domain == stub.Domain }) {
			s.Stubs = append(s.Stubs, stub)
		}
	}
	if s.TTL == nil {
		s.TTL = below.TTL
	}
	return s
}
