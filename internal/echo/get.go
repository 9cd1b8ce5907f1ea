package echo

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"
)

// ErrFailed says that requests failed and that the reasons have been printed.
var ErrFailed = errors.New("requests failed")

// Get asks a URL, once or many times.
type Get struct {
	URL       string // $NAME in it is a variable of the environment: the image has no shell
	Method    string
	Header    http.Header // "Host" sets the request's host
	Body      string
	Count     int           // more than 1: print a tally instead of the bodies
	For       time.Duration // ask for this long instead, and print a tally
	Interval  time.Duration // pause between two requests
	Timeout   time.Duration // of one request, its body included; 0 means none
	KeepAlive bool          // reuse connections
	Insecure  bool          // accept any certificate
	Connect   string        // connect to this address instead of the URL's host
}

// Run makes the requests one after the other and prints to w. An answer of 400
// and more counts as a failure. The error is ErrFailed if a tally was printed,
// else the reason of the one failure.
func (g Get) Run(ctx context.Context, w io.Writer) error {
	client := g.client()
	if g.Count <= 1 && g.For == 0 {
		_, err := g.once(ctx, client, w)
		return err
	}
	start := time.Now()
	t := tally{pods: map[string]int{}, reasons: map[string]int{}}
	more := func(i int) bool {
		if g.For > 0 {
			return time.Since(start) < g.For
		}
		return i < g.Count
	}
	for i := 0; more(i) && ctx.Err() == nil; i++ {
		if i > 0 && g.Interval > 0 {
			time.Sleep(g.Interval)
		}
		var body bytes.Buffer
		pod, err := g.once(ctx, client, &body)
		t.add(pod, err)
	}
	t.print(w, time.Since(start))
	if len(t.reasons) > 0 {
		return ErrFailed
	}
	return nil
}

func (g Get) client() *http.Client {
	dial := (&net.Dialer{}).DialContext
	transport := &http.Transport{
		DisableKeepAlives:  !g.KeepAlive,
		DisableCompression: true, // a header that the caller did not ask for
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: g.Insecure},
		ForceAttemptHTTP2:  true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if g.Connect != "" {
				addr = g.Connect
			}
			return dial(ctx, network, addr)
		},
	}
	return &http.Client{
		Transport: transport,
		Timeout:   g.Timeout,
		// A redirect is an answer: the caller wants to see it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// once makes one request, copies the answer's body to w as it comes, and
// returns the name of the pod that answered.
func (g Get) once(ctx context.Context, client *http.Client, w io.Writer) (pod string, err error) {
	req, err := http.NewRequestWithContext(ctx, g.Method, os.ExpandEnv(g.URL), strings.NewReader(g.Body))
	if err != nil {
		return "", err
	}
	req.Header = g.Header.Clone()
	if host := g.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", errors.New(reason(err))
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return "", fmt.Errorf("answer cut off: %s", reason(err))
	}
	if location := resp.Header.Get("Location"); location != "" {
		fmt.Fprintf(w, "%s to %s\n", resp.Status, location)
	}
	pod = resp.Header.Get(PodHeader)
	if resp.StatusCode >= http.StatusBadRequest {
		return pod, fmt.Errorf("status %s", resp.Status)
	}
	return pod, nil
}

// reason says in a few words why a connection or request failed, the same for
// every address, so that a tally can count them.
func reason(err error) string {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns):
		return dns.Err + ": " + dns.Name
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH):
		return "host unreachable"
	case errors.Is(err, syscall.ENETUNREACH):
		return "network unreachable"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return "timeout"
	case errors.As(err, &certificate):
		return "certificate: " + certificate.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed without an answer"
	}
	return err.Error()
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// tally counts answers by pod and failures by reason.
type tally struct {
	pods    map[string]int
	reasons map[string]int
}

func (t tally) add(pod string, err error) {
	if err != nil {
		t.reasons[err.Error()]++
		return
	}
	t.pods[pod]++
}

func (t tally) print(w io.Writer, took time.Duration) {
	answered, failed := 0, 0
	for _, pod := range sortedKeys(t.pods) {
		name := pod
		if name == "" {
			name = "(no pod named)"
		}
		fmt.Fprintf(w, "%6d %s\n", t.pods[pod], name)
		answered += t.pods[pod]
	}
	for _, why := range sortedKeys(t.reasons) {
		fmt.Fprintf(w, "%6d failed: %s\n", t.reasons[why], why)
		failed += t.reasons[why]
	}
	fmt.Fprintf(w, "%d requests, %d failed, %.1fs\n", answered+failed, failed, took.Seconds())
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
