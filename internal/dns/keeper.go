package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Keeper holds the sockets of servers for the case that they end (see keep.go).
// It understands nothing of what comes in them.
type Keeper struct {
	// Others are servers that answer as well, nearest first; they are asked
	// in place of one that has ended. None: the questions wait.
	Others func() []netip.AddrPort
	// Exists reports whether the server of that name may come again.
	Exists func(name string) bool
	Log    *slog.Logger

	Relayed, Lost atomic.Uint64 // questions that others have answered, and have not

	mu   sync.Mutex
	kept map[string]*estate
}

// maxEstates bounds what servers, or who says to be one, can make a Keeper hold.
const maxEstates = 16

// keptBuffer is how much may wait in a socket, by the kernel's count.
const keptBuffer = 4 << 20

// estate is what there is of one server.
type estate struct {
	fds   []int
	relay *relay // nil: the server answers
}

// Listen opens the socket at path that servers come to.
func (k *Keeper) Listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of the keeper's socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the keeper's old socket: %w", err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("listen for DNS servers: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // they have no privileges
		l.Close()
		return nil, err
	}
	return l, nil
}

// Serve keeps the sockets of all who come to l, until ctx ends.
func (k *Keeper) Serve(ctx context.Context, l *net.UnixListener) error {
	context.AfterFunc(ctx, func() { l.Close() })
	defer k.forgetAll()
	go k.forgetGone(ctx)
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept DNS servers: %w", err)
		}
		context.AfterFunc(ctx, func() { c.Close() })
		go k.serve(ctx, c)
	}
}

// serve goes on until the server at the other end is gone.
func (k *Keeper) serve(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	name, alive := "", false
	for {
		var silence time.Time
		if alive {
			silence = time.Now().Add(hungAfter)
		}
		_ = c.SetReadDeadline(silence)
		packet, fds, err := recvFDs(c)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			alive = false
			k.stepIn(name, "does not run")
			continue
		}
		if err != nil {
			break
		}
		verb, rest, _ := strings.Cut(packet, " ")
		answer, give := "ok", []int(nil)
		switch {
		case verb == "have" && name == "":
			name = rest
			answer = strconv.Itoa(k.count(name))
			closeAll(fds)
		case verb == "take" && name != "":
			give = k.take(name)
			closeAll(fds)
		case verb == "keep" && name != "":
			if answer = toBeAlive; !k.put(name, fds) {
				answer = "no"
			}
		case verb == "alive" && name != "":
			closeAll(fds)
			alive = true
			k.stepOut(name)
			continue
		default:
			closeAll(fds)
			return
		}
		err = sendFDs(c, answer, give)
		closeAll(give)
		if err != nil {
			break
		}
	}
	if name != "" && ctx.Err() == nil {
		k.stepIn(name, "has ended")
	}
}

func (k *Keeper) count(name string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.kept[name]; e != nil && e.relay != nil {
		return len(e.fds)
	}
	return 0
}

// take ends the relay and returns the sockets, which are the caller's now.
func (k *Keeper) take(name string) []int {
	k.mu.Lock()
	e := k.kept[name]
	delete(k.kept, name)
	k.mu.Unlock()
	if e == nil {
		return nil
	}
	if e.relay != nil {
		e.relay.end()
	}
	return e.fds
}

func (k *Keeper) forget(name string) { closeAll(k.take(name)) }

func (k *Keeper) forgetAll() {
	k.mu.Lock()
	var names []string
	for n := range k.kept {
		names = append(names, n)
	}
	k.mu.Unlock()
	for _, n := range names {
		k.forget(n)
	}
}

// forgetGone lets go of what nobody will ask for any more.
func (k *Keeper) forgetGone(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		k.mu.Lock()
		var gone []string
		for n, e := range k.kept {
			if e.relay != nil && !k.Exists(n) {
				gone = append(gone, n)
			}
		}
		k.mu.Unlock()
		for _, n := range gone {
			k.forget(n)
		}
	}
}

// put holds fds, which are the Keeper's from now on, in place of what it had.
func (k *Keeper) put(name string, fds []int) bool {
	for _, fd := range fds {
		if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_INET && domain != unix.AF_INET6 {
			closeAll(fds)
			return false
		}
		// Beyond rmem_max, which who asks for it here may: about 10,000 questions wait.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, keptBuffer)
	}
	k.forget(name)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.kept) >= maxEstates {
		closeAll(fds)
		return false
	}
	if k.kept == nil {
		k.kept = map[string]*estate{}
	}
	k.kept[name] = &estate{fds: fds}
	return true
}

// stepIn lets others answer in place of a server that has ended, or does not run.
func (k *Keeper) stepIn(name, what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.kept[name]; e != nil && e.relay == nil {
		k.Log.Info("a DNS server "+what+"; others answer in its place until it is there again", "server", name, "others", k.Others())
		e.relay = k.relay(e.fds)
	}
}

// stepOut ends that for a server that runs again.
func (k *Keeper) stepOut(name string) {
	k.mu.Lock()
	var r *relay
	if e := k.kept[name]; e != nil {
		r, e.relay = e.relay, nil
	}
	k.mu.Unlock()
	if r != nil {
		k.Log.Info("the DNS server runs again", "server", name)
		r.end()
	}
}
