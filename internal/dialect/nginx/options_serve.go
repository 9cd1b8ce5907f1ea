package nginx

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
)

// Clients is what connections of clients may do.
type Clients struct {
	Header   time.Duration // until the head of a request has come
	Body     time.Duration // between two reads of its body
	Idle     time.Duration // between two requests; 0: there is no second one
	Requests int           // of one connection, then it is closed; 0: any number
	Streams  int           // of HTTP/2, at a time
	Preamble time.Duration // until a header of the PROXY protocol has come
}

// Streams is how what is not HTTP is passed on.
type Streams struct {
	Timeout   time.Duration // of silence, then the connection or flow ends
	Responses int           // to a datagram, then the flow ends; 0: any number
	Tries     int           // endpoints that one connection may be offered to; 0: all
	Within    time.Duration // for all tries; 0: no limit
}

// maxHead is how long the head of a request may be (package proxy has it so, too).
const maxHead = 32 << 10

// servingOptions are about connections of clients and their TLS.
func servingOptions() []Option {
	return []Option{
		{Doc: dialect.Doc{Key: "client-body-timeout", Default: "60", Text: "Seconds between two reads of a request's body; beyond it 408"},
			set: func(o *Options, v string) error { return set(&o.Clients.Body, v, parseSeconds) }},
		{Doc: dialect.Doc{Key: "client-header-timeout", Default: "60", Text: "Seconds until the head of a request has come; beyond it 408"},
			set: func(o *Options, v string) error { return set(&o.Clients.Header, v, parseSeconds) }},
		{Doc: dialect.Doc{Key: "http2-max-concurrent-streams", Default: "128", Text: "Requests under way on one connection of HTTP/2 or HTTP/3"},
			set: func(o *Options, v string) error { return set(&o.Clients.Streams, v, parsePositive) }},
		{Doc: dialect.Doc{Key: "keep-alive", Default: "75", Text: "Seconds that a connection is kept between two requests; 0 closes it after each"},
			set: func(o *Options, v string) error { return set(&o.Clients.Idle, v, parseSecondsOrNone) }},
		{Doc: dialect.Doc{Key: "keep-alive-requests", Default: "any number", Text: "Requests of one connection, then it is closed"},
			set: func(o *Options, v string) error { return set(&o.Clients.Requests, v, parseCount) }},
		{Doc: dialect.Doc{Key: "large-client-header-buffers", Default: "4 8k", Text: "Accepted if it asks for no more than 32k in all, which is what the head of a request may have; beyond it 431"},
			set: func(_ *Options, v string) error { return checkHeaderBuffers(v) }},
		{Doc: dialect.Doc{Key: "proxy-protocol-header-timeout", Default: "10s", Text: "How long to wait for the PROXY protocol's header"},
			set: func(o *Options, v string) error { return set(&o.Clients.Preamble, v, parseDuration) }},
		{Doc: dialect.Doc{Key: "ssl-protocols", Default: "TLSv1.2 TLSv1.3", Text: "Versions of TLS towards clients, TLSv1 to TLSv1.3"},
			set: func(o *Options, v string) error { return parseProtocols(v, &o.TLSMin, &o.TLSMax) }},
		{Doc: dialect.Doc{Key: "ssl-reject-handshake", Default: "false", Text: "Refuse handshakes for names that no Ingress has, instead of showing a certificate of our own"},
			set: func(o *Options, v string) error { return set(&o.RejectHandshake, v, parseBool) }},
		{Doc: dialect.Doc{Key: "use-http2", Default: "true", Text: "Offer HTTP/2 to clients"},
			set: func(o *Options, v string) error {
				yes, err := parseBool(v)
				o.NoHTTP2 = err == nil && !yes
				return err
			}},
	}
}

// streamOptions are about ports that are passed on as they are.
func streamOptions() []Option {
	return []Option{
		{Doc: dialect.Doc{Key: "proxy-stream-next-upstream", Default: "true", Text: "Offer a connection of a TCP port to another pod if one does not take it"},
			set: func(o *Options, v string) error {
				yes, err := parseBool(v)
				if err == nil && !yes {
					o.Streams.Tries = 1
				}
				return err
			}},
		{Doc: dialect.Doc{Key: "proxy-stream-next-upstream-timeout", Default: "600s", Text: "For how long; 0 is no limit"},
			set: func(o *Options, v string) error { return set(&o.Streams.Within, v, parseDuration) }},
		{Doc: dialect.Doc{Key: "proxy-stream-next-upstream-tries", Default: "3", Text: "To how many pods; 0 is all of them"},
			set: func(o *Options, v string) error {
				n, err := parseCount(v)
				if err == nil && o.Streams.Tries != 1 { // proxy-stream-next-upstream comes before, in the order of the alphabet
					o.Streams.Tries = n
				}
				return err
			}},
		{Doc: dialect.Doc{Key: "proxy-stream-responses", Default: "any number", Effect: dialect.Partly, Text: "How many datagrams answer one of a client of a UDP port, before its next one may go to another pod. By default (1 in ingress-nginx) a client that goes on talking stays with its pod"},
			set: func(o *Options, v string) error { return set(&o.Streams.Responses, v, parseCount) }},
		{Doc: dialect.Doc{Key: "proxy-stream-timeout", Default: "600s", Text: "How long both sides of a connection, or of a flow of datagrams, may be silent before it ends"},
			set: func(o *Options, v string) error { return set(&o.Streams.Timeout, v, parseDuration) }},
	}
}

func parsePositive(v string) (int, error) {
	n, err := parseCount(v)
	if err == nil && n == 0 {
		return 0, &dialect.ValueError{Problem: "0 would let nobody in", Fix: "write a number from 1 on"}
	}
	return n, err
}

// checkHeaderBuffers reads "COUNT SIZE".
func checkHeaderBuffers(v string) error {
	count, size, _ := strings.Cut(strings.TrimSpace(v), " ")
	n, err := strconv.ParseInt(count, 10, 32)
	if err == nil {
		var each int64
		if each, err = parseSize(size); err == nil && n*each > maxHead {
			return &dialect.ValueError{Problem: fmt.Sprintf("%q is more than the 32k that the head of a request may have", v), Fix: "remove it, and keep large cookies out of requests"}
		}
	}
	if err != nil {
		return &dialect.ValueError{Problem: fmt.Sprintf("%q is not a number and a size", v), Fix: `write one like "4 8k"`}
	}
	return nil
}

// newClients are the defaults of nginx, where it has them.
func newClients() Clients {
	return Clients{Header: time.Minute, Body: time.Minute, Idle: 75 * time.Second, Streams: 128, Preamble: 10 * time.Second}
}

func newStreams() Streams {
	return Streams{Timeout: 10 * time.Minute, Tries: 3, Within: 10 * time.Minute}
}

const defaultTLS = tls.VersionTLS12
