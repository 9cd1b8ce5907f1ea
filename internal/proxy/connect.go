package proxy

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// This file is CONNECT (RFC 9110, section 9.3.6). What it asks for is a way through us to
// an address of the client's choice, which we never are: where the rule of the host allows
// it, it is one to an endpoint of the rule's backend, and the authority says no more than
// which host. Everything that the rule asks of clients comes before.

// connects says that a tunnel is asked for, and not by an extended CONNECT, which is a GET
// that changes the protocol.
func (x *exchange) connects() bool { return x.method == http.MethodConnect }

func (x *exchange) notAllowed() {
	x.fail(http.StatusMethodNotAllowed, "method "+x.method+" is not allowed")
}

// hasAuthority says whether the request has the form of CONNECT: its target is a host,
// which Host repeats, and a port (RFC 9112, section 3.2.3), and there is no body.
func (x *exchange) hasAuthority() bool {
	r := x.call.request
	host, port, err := net.SplitHostPort(r.Target)
	if err != nil || host == "" || !strings.EqualFold(r.Host, r.Target) && !strings.EqualFold(r.Host, host) {
		return false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return false
	}
	_, framed := x.call.client.(*front)
	return r.Length < 0 && !(framed && r.HasBody())
}

// tunnel is a connection to an endpoint that is asked for nothing: the upstream of CONNECT.
type tunnel struct{ conn net.Conn }

// offer implements upstream.
func (t *tunnel) offer(c *call) error {
	c.response.Fields = c.response.Fields[:0]
	c.response.Compose(http.StatusOK)
	c.response.Bodiless = true
	return nil
}

// carry implements upstream.
func (t *tunnel) carry(*call) error { return http.ErrNotSupported }

// pipe implements upstream.
func (t *tunnel) pipe() (io.ReadWriteCloser, []byte) { return t.conn, nil }

// end implements upstream.
func (t *tunnel) end(*call, bool) { _ = t.conn.Close() }

// stale implements upstream.
func (t *tunnel) stale() bool { return false }

var _ upstream = (*tunnel)(nil)

// finishes says that nothing may follow a request on its connection, whatever becomes of it:
// a client that does not wait for the answer to CONNECT has sent octets of another
// protocol, which would be read as a request if it was refused.
func finishes(r *h1.Request) bool { return r.Method == http.MethodConnect }
