package fairway

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// Policy says which of the endpoints that can take a request gets it.
type Policy string

// The policies.
const (
	RoundRobin   Policy = ""              // they take turns
	LeastRequest Policy = "least_request" // the one with the fewest requests under way
	RandomTwo    Policy = "random_two"    // of two drawn at random, the one with fewer
	EWMA         Policy = "ewma"          // of two drawn at random, the one with less load and response time
)

// Zones says what the zones of endpoints mean.
type Zones string

// The values of Zones.
const (
	Hints  Zones = ""       // what the EndpointSlices hint at is preferred
	Prefer Zones = "prefer" // endpoints of the gateway's zone are
	Off    Zones = "off"    // all are alike
)

// Settings is what the annotations of one Service say. It can be compared.
type Settings struct {
	Policy    Policy
	Zones     Zones
	SlowStart time.Duration // until a new endpoint gets its full share; 0: at once

	// Bounds per endpoint and gateway; 0: none. Pending requests wait for room.
	MaxConnections, MaxRequests, MaxPending int

	ProxyProtocol int // version of the header that each connection begins with; 0: none

	Check Check
}

// Check asks endpoints whether they are well. Path "": nobody is asked.
type Check struct {
	Path                string // "tcp": a connection is enough
	Host                string // "": the Service's name
	Interval, Timeout   time.Duration
	Failures, Successes int // in a row, until an endpoint is avoided, and until it is not
}

// Defaults is what a Service without annotations says.
func Defaults() Settings {
	return Settings{Check: Check{Interval: 5 * time.Second, Timeout: time.Second, Failures: 3, Successes: 2}}
}

func serviceTable() []annotation[Settings] {
	row := row[Settings]
	d := Defaults()
	return []annotation[Settings]{
		row("balance", "round_robin", "round_robin; least_request: the pod with the fewest requests under way; random_two: of two drawn at random the one with fewer; ewma: of two the one with less load and response time. The annotations load-balance: ewma, upstream-hash-by and affinity of an Ingress come before it",
			func(s *Settings, v string) (err error) { s.Policy, err = parsePolicy(v); return err }),
		row("zones", "hints", "hints: pods that the hints of EndpointSlices name for the gateway's node or zone (trafficDistribution, topology-mode) come first; prefer: pods of the gateway's zone do, hints or not; off: all are alike. If fewer than five of seven of them are well, a growing share goes to the others",
			func(s *Settings, v string) (err error) { s.Zones, err = parseZones(v); return err }),
		row("slow-start", "0s", "How long a pod that is new, or well again, gets less than its share: from a tenth of it up to all of it. Not with upstream-hash-by",
			func(s *Settings, v string) (err error) { s.SlowStart, err = parseTime(v, 0); return err }),
		row("max-connections", "0", "Connections that a gateway may have to a pod at a time, as far as requests use them; 0 is no limit. Requests of HTTP/1, upgrades and connections of tcp-services need one each; HTTP/2 shares one",
			func(s *Settings, v string) (err error) { s.MaxConnections, err = parseCount(v, 0); return err }),
		row("max-requests", "0", "Requests that a gateway may have under way at a pod; 0 is no limit. Beyond it other pods are asked, and where all are full requests wait, or get 503",
			func(s *Settings, v string) (err error) { s.MaxRequests, err = parseCount(v, 0); return err }),
		row("max-pending", "0", "How many requests may wait for room, times the number of pods; beyond it 503 at once. They wait as long as a connection may take (proxy-connect-timeout)",
			func(s *Settings, v string) (err error) { s.MaxPending, err = parseCount(v, 0); return err }),
		row("proxy-protocol", "off", "v1 or v2: connections to the pods begin with a header of the PROXY protocol, which names the client. Each request then has a connection of its own, as it is the client's alone, and health checks come as nobody's (LOCAL, or UNKNOWN)",
			func(s *Settings, v string) (err error) { s.ProxyProtocol, err = parseProxyProtocol(v); return err }),
		row("health-check", "", "Ask every pod for this path, on the port that requests go to, and avoid those that do not answer 200 to 399; tcp: a connection is enough. Kubernetes' own readiness counts in any case",
			func(s *Settings, v string) (err error) { s.Check.Path, err = parseCheck(v); return err }),
		row("health-check-host", "the Service's name", "Host header of the question",
			func(s *Settings, v string) (err error) { s.Check.Host, err = dialect.ParseHost(v); return err }),
		row("health-check-interval", d.Check.Interval.String(), "Time between two questions to a pod",
			func(s *Settings, v string) (err error) {
				s.Check.Interval, err = parseTime(v, 100*time.Millisecond)
				return err
			}),
		row("health-check-timeout", d.Check.Timeout.String(), "How long an answer may take",
			func(s *Settings, v string) (err error) {
				s.Check.Timeout, err = parseTime(v, 10*time.Millisecond)
				return err
			}),
		row("health-check-failures", strconv.Itoa(d.Check.Failures), "Failures in a row after which a pod is avoided",
			func(s *Settings, v string) (err error) { s.Check.Failures, err = parseCount(v, 1); return err }),
		row("health-check-successes", strconv.Itoa(d.Check.Successes), "Successes in a row after which it is not avoided any more",
			func(s *Settings, v string) (err error) { s.Check.Successes, err = parseCount(v, 1); return err }),
	}
}

// elsewhere are annotations of Services with the same prefix that others read.
var elsewhere = []string{"load-balancer-ips", "address-pool"}

// ParseService reads the annotations of a Service. What cannot be used is rejected and
// leaves its default.
func ParseService(svc *model.Service) (Settings, []model.Rejected) {
	s := Defaults()
	if len(svc.Annotations) == 0 {
		return s, nil
	}
	ref := model.Ref{Kind: model.KindService, Name: svc.Name, UID: svc.UID}
	return s, read(&s, ref, svc.Annotations, serviceTable(), elsewhere)
}

func parsePolicy(v string) (Policy, error) {
	switch p := Policy(strings.TrimSpace(v)); p {
	case "round_robin":
		return RoundRobin, nil
	case LeastRequest, RandomTwo, EWMA:
		return p, nil
	}
	return "", &dialect.ValueError{Problem: fmt.Sprintf("%q is not known", v), Fix: "write round_robin, least_request, random_two or ewma"}
}

func parseZones(v string) (Zones, error) {
	switch z := Zones(strings.TrimSpace(v)); z {
	case "hints":
		return Hints, nil
	case Prefer, Off:
		return z, nil
	}
	return "", &dialect.ValueError{Problem: fmt.Sprintf("%q is not known", v), Fix: "write hints, prefer or off"}
}

func parseProxyProtocol(v string) (int, error) {
	switch strings.TrimSpace(v) {
	case "off":
		return 0, nil
	case "v1":
		return 1, nil
	case "v2":
		return 2, nil
	}
	return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is no version of the PROXY protocol", v), Fix: "write v1, v2 or off"}
}

// parseTime accepts what Go does ("1m30s"), and a number of seconds.
func parseTime(v string, least time.Duration) (time.Duration, error) {
	v = strings.TrimSpace(v)
	d, err := time.ParseDuration(v)
	if n, e := strconv.Atoi(v); e == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < least || d > 24*time.Hour {
		return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is not a time from %v to 24h", v, least), Fix: `write one like "30s"`}
	}
	return d, nil
}

func parseCount(v string, least int) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(v))
	if err != nil || n < least || n > 1<<20 {
		return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is not a number from %d to %d", v, least, 1<<20), Fix: "write digits"}
	}
	return n, nil
}

func parseCheck(v string) (string, error) {
	v = strings.TrimSpace(v)
	if v == "tcp" {
		return v, nil
	}
	if !strings.HasPrefix(v, "/") || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", &dialect.ValueError{Problem: fmt.Sprintf("%q is not a path", v), Fix: `write one like "/healthz", or "tcp"`}
	}
	return v, nil
}
