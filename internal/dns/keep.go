package dns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A server lets a Keeper, another process, hold its sockets too. What waits in
// them survives the server's death, and until the server is there again the
// Keeper has the questions answered by others.
//
// They speak in packets, the server first:
//
//	have NAME        → N          how many sockets the Keeper has of a server that ended
//	keep + sockets   → ok alive   hold these; "alive": say so now and then, or be taken for hung
//	alive                         no answer
//	take             → sockets    let go of them: the server answers from now on
//
// When the connection ends the server has, be it that it died or that it was
// told to end: as long as its pod is there, questions may come. One that is silent is
// stopped or starved, and goes on one day: both may read the sockets meanwhile.

// keepPatience bounds the wait for a Keeper, which does nothing but this. The
// server does without it if it does not answer.
const keepPatience = 500 * time.Millisecond

// keepAgain is how often a server looks for a Keeper that has gone.
const keepAgain = time.Second

// A server says every aliveEvery that it runs, and is taken for hung after hungAfter.
const (
	aliveEvery = 250 * time.Millisecond
	hungAfter  = time.Second
)

// toBeAlive is a Keeper's answer that asks for that; earlier ones did not.
const toBeAlive = "ok alive"

// maxFDs is the kernel's limit for one packet (SCM_MAX_FD).
const maxFDs = 253

// kept is a server's side of the connection.
type kept struct {
	path, name string
	conn       *net.UnixConn // nil: none
}

// have connects and returns how many sockets there are.
func (k *kept) have() (n int, err error) {
	raw, err := net.DialTimeout("unixpacket", k.path, keepPatience)
	if err != nil {
		return 0, err
	}
	k.conn = raw.(*net.UnixConn)
	answer, _, err := k.ask("have "+k.name, nil)
	if err == nil {
		n, err = strconv.Atoi(answer)
	}
	if err != nil {
		k.close()
	}
	return n, err
}

func (k *kept) close() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

func (k *kept) ask(what string, fds []int) (answer string, got []int, err error) {
	_ = k.conn.SetDeadline(time.Now().Add(keepPatience))
	defer k.conn.SetDeadline(time.Time{})
	if err := sendFDs(k.conn, what, fds); err != nil {
		return "", nil, err
	}
	return recvFDs(k.conn)
}

// sendFDs sends one packet.
func sendFDs(c *net.UnixConn, text string, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err := c.WriteMsgUnix([]byte(text), oob, nil)
	return err
}

// recvFDs receives one packet; the file descriptors are the caller's.
func recvFDs(c *net.UnixConn) (text string, fds []int, err error) {
	buf, oob := make([]byte, 1024), make([]byte, unix.CmsgSpace(maxFDs*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return "", nil, err
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return "", nil, err
	}
	for _, m := range cmsgs {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	if n == 0 || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeAll(fds)
		return "", nil, errors.New("connection ended, or packet too long")
	}
	return string(buf[:n]), fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// sockets are all of the server's, of each address TCP first. They stay the server's.
func (s *Server) sockets() ([]int, error) {
	var fds []int
	perAddr := len(s.udp) / max(1, len(s.tcp))
	for i, l := range s.tcp {
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err != nil {
			return nil, err
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return nil, err
		}
		for _, u := range s.udp[i*perAddr : (i+1)*perAddr] {
			fds = append(fds, u.fd)
		}
	}
	return fds, nil
}

// socketCount is how many sockets the server has: of each address one for TCP, and those for UDP.
func (s *Server) socketCount() int { return len(s.o.Listen) * (1 + s.o.Sockets) }

// inherit makes the server's sockets of those that a predecessor had.
func (s *Server) inherit() error {
	_, fds, err := s.kept.ask("take", nil)
	if err != nil {
		return err
	}
	if len(fds) != s.socketCount() {
		closeAll(fds)
		return fmt.Errorf("%d sockets for %d addresses", len(fds), len(s.o.Listen))
	}
	for i := range s.o.Listen {
		mine := fds[i*(1+s.o.Sockets):][:1+s.o.Sockets]
		f := os.NewFile(uintptr(mine[0]), "tcp")
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			closeAll(fds[i*(1+s.o.Sockets)+1:])
			return err
		}
		s.tcp = append(s.tcp, l)
		for _, fd := range mine[1:] {
			s.udp = append(s.udp, socketOf(fd))
		}
	}
	return nil
}

// openOrInherit opens the sockets. If a Keeper has those of a predecessor they
// stay with it until Serve: it has others answer while this server prepares.
func (s *Server) openOrInherit() error {
	if s.o.Keeper != "" {
		s.kept = &kept{path: s.o.Keeper, name: s.o.Name}
		if n, err := s.kept.have(); err != nil {
			s.o.Log.Info("nobody keeps the sockets", "err", err)
		} else if s.inherits = n == s.socketCount(); s.inherits {
			return nil
		}
	}
	return s.listenAll()
}

func (s *Server) listenAll() error {
	for _, addr := range s.o.Listen {
		if err := s.listen(addr); err != nil {
			return err
		}
	}
	return nil
}

// takeOver is the end of openOrInherit.
func (s *Server) takeOver() error {
	if !s.inherits {
		return nil
	}
	err := s.inherit()
	if err == nil {
		s.o.Log.Info("took over the sockets of a predecessor")
		return nil
	}
	s.o.Log.Warn("could not take over the sockets of a predecessor", "err", err)
	s.closeSockets()
	s.udp, s.tcp = nil, nil
	return s.listenAll()
}

// beKept has a Keeper hold the sockets, and leaves them to it when end is closed.
func (s *Server) beKept(end <-chan struct{}) {
	fds, err := s.sockets()
	if err != nil || len(fds) > maxFDs {
		s.o.Log.Warn("sockets cannot be kept", "sockets", len(fds), "err", err)
		return
	}
	defer s.kept.close()
	for {
		if s.kept.conn == nil {
			_, _ = s.kept.have() // what it has is not ours: we have our own
		}
		if s.kept.conn != nil {
			if answer, _, err := s.kept.ask("keep", fds); err == nil {
				s.kept.await(end, answer == toBeAlive)
			}
			s.kept.close()
		}
		select {
		case <-end:
			return
		case <-time.After(keepAgain):
		}
	}
}

// await returns when end is closed or the Keeper has gone.
func (k *kept) await(end <-chan struct{}, sayAlive bool) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = k.conn.Read(make([]byte, 1)) // it says nothing
	}()
	var tick <-chan time.Time
	if sayAlive {
		t := time.NewTicker(aliveEvery)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-end:
			k.conn.Close()
			<-gone
			return
		case <-gone:
			return
		case <-tick:
			_ = k.conn.SetWriteDeadline(time.Now().Add(aliveEvery))
			_ = sendFDs(k.conn, "alive", nil) // a Keeper that has gone shows in gone
		}
	}
}
