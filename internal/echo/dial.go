package echo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Dial opens a connection and says so.
type Dial struct {
	Addr    string // host:port; $NAME in it is a variable of the environment
	UDP     bool   // send one datagram and wait for the answer
	Timeout time.Duration
}

// Run prints the two ends of the connection; for UDP also the answer, which is
// the only proof that anybody listens.
func (d Dial) Run(ctx context.Context, w io.Writer) error {
	network := "tcp"
	if d.UDP {
		network = "udp"
	}
	conn, err := (&net.Dialer{Timeout: d.Timeout}).DialContext(ctx, network, os.ExpandEnv(d.Addr))
	if err != nil {
		return errors.New(reason(err))
	}
	defer conn.Close()
	if !d.UDP {
		fmt.Fprintf(w, "connected to %s from %s\n", conn.RemoteAddr(), conn.LocalAddr())
		return nil
	}
	if err := conn.SetDeadline(time.Now().Add(d.Timeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		return errors.New(reason(err))
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil {
		return errors.New(reason(err))
	}
	_, err = w.Write(buf[:n])
	return err
}
