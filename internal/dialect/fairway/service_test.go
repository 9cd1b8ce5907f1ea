package fairway

import (
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
)

func annotated(pairs ...string) *model.Service {
	s := &model.Service{Name: model.Name{Namespace: "default", Name: "a"}, Annotations: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Annotations[Prefix+pairs[i]] = pairs[i+1]
	}
	return s
}

// TestParse has every annotation once with a value that counts.
func TestParse(t *testing.T) {
	values := map[string]struct {
		value string
		want  func(*Settings)
	}{
		"balance":                {"least_request", func(s *Settings) { s.Policy = LeastRequest }},
		"zones":                  {"prefer", func(s *Settings) { s.Zones = Prefer }},
		"slow-start":             {"30s", func(s *Settings) { s.SlowStart = 30 * time.Second }},
		"max-connections":        {"10", func(s *Settings) { s.MaxConnections = 10 }},
		"max-requests":           {"20", func(s *Settings) { s.MaxRequests = 20 }},
		"max-pending":            {" 30 ", func(s *Settings) { s.MaxPending = 30 }},
		"proxy-protocol":         {"v2", func(s *Settings) { s.ProxyProtocol = 2 }},
		"health-check":           {"/healthz?x", func(s *Settings) { s.Check.Path = "/healthz?x" }},
		"health-check-host":      {"a.example", func(s *Settings) { s.Check.Host = "a.example" }},
		"health-check-interval":  {"2", func(s *Settings) { s.Check.Interval = 2 * time.Second }},
		"health-check-timeout":   {"500ms", func(s *Settings) { s.Check.Timeout = 500 * time.Millisecond }},
		"health-check-failures":  {"1", func(s *Settings) { s.Check.Failures = 1 }},
		"health-check-successes": {"4", func(s *Settings) { s.Check.Successes = 4 }},
	}
	for _, a := range serviceTable() {
		v, ok := values[a.Key]
		if !ok {
			t.Errorf("no case for %s", a.Key)
			continue
		}
		want := Defaults()
		v.want(&want)
		got, rejected := ParseService(annotated(a.Key, v.value))
		if got != want || rejected != nil {
			t.Errorf("%s: %q: %+v, want %+v; %v", a.Key, v.value, got, want, rejected)
		}
	}
}

func TestParseRejects(t *testing.T) {
	for _, c := range []struct{ key, value, reason, text string }{
		{"balance", "fastest", "AnnotationInvalid", "least_request"},
		{"zones", "on", "AnnotationInvalid", "hints, prefer or off"},
		{"slow-start", "-1s", "AnnotationInvalid", "is not a time"},
		{"slow-start", "soon", "AnnotationInvalid", "is not a time"},
		{"max-requests", "-1", "AnnotationInvalid", "is not a number"},
		{"proxy-protocol", "2", "AnnotationInvalid", "write v1, v2 or off"},
		{"health-check", "healthz", "AnnotationInvalid", "is not a path"},
		{"health-check", "/a b", "AnnotationInvalid", "is not a path"},
		{"health-check-host", "a b", "AnnotationInvalid", "is not a host"},
		{"health-check-interval", "1ms", "AnnotationInvalid", "from 100ms"},
		{"health-check-failures", "0", "AnnotationInvalid", "from 1"},
		{"max-request", "1", "AnnotationUnknown", "did you mean fairway.dev/max-requests?"},
		{"load-balancer-ip", "1", "AnnotationUnknown", "did you mean fairway.dev/load-balancer-ips?"},
		{"nonsense", "1", "AnnotationUnknown", "remove it"},
	} {
		got, rejected := ParseService(annotated(c.key, c.value, "max-pending", "7"))
		want := Defaults()
		want.MaxPending = 7
		if got != want || len(rejected) != 1 || rejected[0].Reason != c.reason || !strings.Contains(rejected[0].String(), c.text) || !strings.Contains(rejected[0].Field, Prefix+c.key) {
			t.Errorf("%s: %q: %+v %v", c.key, c.value, got, rejected)
		}
	}
	if _, rejected := ParseService(annotated("load-balancer-ips", "192.0.2.1", "address-pool", "x")); rejected != nil {
		t.Error(rejected)
	}
}

// FuzzParseService: no value makes the parsers fail, or a setting out of its range.
func FuzzParseService(f *testing.F) {
	for _, a := range serviceTable() {
		f.Add(a.Key, a.Default)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		s, _ := ParseService(annotated(key, value))
		c := s.Check
		if s.SlowStart < 0 || s.MaxConnections < 0 || s.MaxPending < 0 || s.MaxRequests < 0 || c.Interval <= 0 || c.Timeout <= 0 || c.Failures < 1 || c.Successes < 1 ||
			strings.ContainsAny(c.Path+c.Host, " \r\n\t") {
			t.Errorf("%q: %q: %+v", key, value, s)
		}
	})
}
