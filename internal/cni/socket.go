package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Socket is where the agent listens.
const Socket = "/run/fairway/cni.sock"

// Timeout bounds one call. Kubelet gives up and tries again after longer.
const Timeout = 20 * time.Second

// Call sends r to the agent at socket, with netns if it is not nil, and waits
// for the answer. One connection is one call: the request ends where the
// plugin closes its direction. An error means that the agent has not answered.
func Call(socket string, r *Request, netns *os.File) (*Response, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(Timeout)); err != nil {
		return nil, err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if err := send(conn, b, netns); err != nil {
		return nil, err
	}
	b, err = io.ReadAll(conn)
	if err != nil {
		return nil, err
	}
	var resp Response
	if err := json.Unmarshal(b, &resp); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	return &resp, nil
}

func send(conn *net.UnixConn, b []byte, netns *os.File) error {
	var oob []byte
	if netns != nil {
		oob = syscall.UnixRights(int(netns.Fd()))
	}
	n, _, err := conn.WriteMsgUnix(b, oob, nil)
	if err != nil {
		return err
	}
	if _, err := conn.Write(b[n:]); err != nil { // WriteMsgUnix may be short
		return err
	}
	return conn.CloseWrite()
}

// maxRequest bounds what the agent reads: a GC lists all attachments of a node.
const maxRequest = 4 << 20

// Receive reads the request from conn on the agent's side, with the namespace
// if one came along. The caller closes it.
func Receive(conn *net.UnixConn) (*Request, *os.File, error) {
	b, oob := make([]byte, 64<<10), make([]byte, 256)
	n, noob, _, _, err := conn.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, nil, err
	}
	netns, err := descriptor(oob[:noob])
	if err != nil {
		return nil, nil, err
	}
	rest, err := io.ReadAll(io.LimitReader(conn, maxRequest))
	var r Request
	if err == nil {
		err = json.Unmarshal(append(b[:n], rest...), &r)
	}
	if err != nil {
		if netns != nil {
			netns.Close()
		}
		return nil, nil, fmt.Errorf("decode request: %w", err)
	}
	return &r, netns, nil
}

// descriptor returns the one file that came with a message, or nil.
func descriptor(oob []byte) (*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	var fds []int
	for i := range messages {
		got, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, fmt.Errorf("parse descriptors: %w", err)
		}
		fds = append(fds, got...)
	}
	if len(fds) != 1 {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
		return nil, errors.New("want exactly one descriptor")
	}
	syscall.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "netns"), nil
}
