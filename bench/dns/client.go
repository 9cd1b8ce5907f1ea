package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// Lengths and offsets of RFC 1035, section 4.1.
const (
	headerLen = 12
	ancountAt = 6
)

// question packs the question for the address of an absolute name.
func question(name string) []byte {
	packed, ok := wire.PackName(name)
	if !ok {
		panic("bench: " + name + " is no name") // they are our own
	}
	b := append([]byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, packed...)
	return append(b, 0, 1, 0, 1)
}

// reading of an answer: how many records, and the address of the last. What is asked here is
// answered by addresses alone, without EDNS: one ends the message.
func reading(b []byte) (n int, last netip.Addr, ok bool) {
	if len(b) < headerLen+4 || b[3]&15 != 0 {
		return 0, last, false
	}
	n = int(binary.BigEndian.Uint16(b[ancountAt:]))
	return n, netip.AddrFrom4([4]byte(b[len(b)-4:])), n > 0
}

// until asks for the address of name again and again until it is want, or any if
// want is empty, and returns how often it asked. A server that ends has no answer.
func until(s *server, name, want string, patience time.Duration) (asked int, err error) {
	ctx, cancel := context.WithTimeoutCause(s.life, patience, fmt.Errorf("no such answer in %v", patience))
	defer cancel()
	conn, err := net.Dial("udp", s.addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	query, buf := question(name), make([]byte, 1500)
	what := "no answer"
	for ; ctx.Err() == nil; asked++ {
		binary.BigEndian.PutUint16(query, uint16(asked))
		answer, err := exchange(conn, query, buf)
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) { // it does not listen yet
				time.Sleep(20 * time.Millisecond)
			}
			continue
		}
		count, last, ok := reading(answer)
		if ok && (want == "" || count == 1 && last.String() == want) {
			return asked, nil
		}
		what = fmt.Sprintf("%d records, %v, code %d", count, last, answer[3]&15)
	}
	return asked, fmt.Errorf("%s: %s instead of %q: %w", name, what, want, context.Cause(ctx))
}

// exchange asks once. Answers of earlier questions, which came too late, are passed over.
func exchange(conn net.Conn, query, buf []byte) ([]byte, error) {
	_ = conn.SetDeadline(time.Now().Add(250 * time.Millisecond))
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= headerLen && buf[0] == query[0] && buf[1] == query[1] {
			return buf[:n], nil
		}
	}
}
