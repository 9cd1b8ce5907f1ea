package kube

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/fairway-net/fairway/internal/model"
)

// PodDialer connects to ports of one pod through the API server, as kubectl
// port-forward does: also to those on loopback, and from wherever the API
// server can be reached. The caller may need pods/portforward of it.
type PodDialer struct {
	conn httpstream.Connection
	next atomic.Int64 // ids of the connections
}

// DialPod connects to the kubelet of a pod. The end of ctx closes all
// connections.
func DialPod(ctx context.Context, config *rest.Config, pod model.Name) (*PodDialer, error) {
	client, err := NewClients(config).ForGroup(corev1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	url := client.Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to pod %v: %w", pod, err)
	}
	overSPDY := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	overWebsocket, err := portforward.NewSPDYOverWebsocketDialer(url, config)
	if err != nil {
		return nil, fmt.Errorf("connect to pod %v: %w", pod, err)
	}
	// As kubectl does it (KEP-4006): proxies on the way may know only the one.
	dialer := portforward.NewFallbackDialer(overWebsocket, overSPDY, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, fmt.Errorf("connect to pod %v: %w", pod, err)
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return &PodDialer{conn: conn}, nil
}

// Close ends all connections.
func (d *PodDialer) Close() error { return d.conn.Close() }

// Dial opens a connection to a port of the pod. The far end tells by closing it
// that nobody listens there. The connection has no deadlines.
func (d *PodDialer) Dial(port uint16) (net.Conn, error) {
	h := http.Header{}
	h.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	h.Set(corev1.PortForwardRequestIDHeader, strconv.FormatInt(d.next.Add(1), 10))
	h.Set(corev1.StreamType, corev1.StreamTypeError)
	failure, err := d.conn.CreateStream(h)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	failure.Close() // we only read from it
	h.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := d.conn.CreateStream(h)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	return &podConn{Stream: data, failure: failure}, nil
}

// podConn is a stream as a net.Conn.
type podConn struct {
	httpstream.Stream
	failure httpstream.Stream
}

// Read gives the reason that the kubelet has for an early end.
func (c *podConn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if n == 0 && err == io.EOF {
		if text, _ := io.ReadAll(io.LimitReader(c.failure, 1024)); len(text) > 0 {
			return 0, fmt.Errorf("forward to pod: %s", text)
		}
	}
	return n, err
}

func (c *podConn) Close() error                     { return c.Stream.Reset() }
func (c *podConn) LocalAddr() net.Addr              { return podAddr{} }
func (c *podConn) RemoteAddr() net.Addr             { return podAddr{} }
func (c *podConn) SetDeadline(time.Time) error      { return nil }
func (c *podConn) SetReadDeadline(time.Time) error  { return nil }
func (c *podConn) SetWriteDeadline(time.Time) error { return nil }

type podAddr struct{}

func (podAddr) Network() string { return "pod" }
func (podAddr) String() string  { return "pod" }
