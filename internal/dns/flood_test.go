package dns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// floods are what an attacker sends; each call makes another packet.
var floods = []struct {
	name    string
	problem string // what it is counted as; "": it is a question like any other
	packet  func() []byte
}{
	{"short", "short", func() []byte { return noise(rand.IntN(12)) }},
	{"oversized", "oversized", func() []byte { return noise(maxQuery + 1 + rand.IntN(4000)) }},
	{"responses", "reply", func() []byte { b := noise(12 + rand.IntN(500)); b[2] |= 0x80; return b }},
	{"compression loop", "question", func() []byte {
		return append([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"), "\x01a\xc0\x0c\x00\x01\x00\x01"...)
	}},
	{"many questions", "question", func() []byte {
		return append([]byte("\x12\x34\x01\x00\x00\xff\x00\x00\x00\x00\x00\x00"), strings.Repeat("\x01a\x00\x00\x01\x00\x01", 200)...)
	}},
	{"records without end", "record", func() []byte {
		return append([]byte("\x12\x34\x01\x00\x00\x01\xff\xff\xff\xff\xff\xff"), "\x01a\x00\x00\x01\x00\x01\x00"...)
	}},
	{"names of others that nobody answers", "", func() []byte {
		b, _ := new(mdns.Msg).SetQuestion(fmt.Sprintf("x%d.example.com.", rand.Uint64()), mdns.TypeA).Pack()
		return b
	}},
	{"names of the zone", "", func() []byte {
		b, _ := new(mdns.Msg).SetQuestion(fmt.Sprintf("x%d.default.svc.cluster.local.", rand.Uint64()), mdns.TypeA).Pack()
		return b
	}},
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// TestFloods: whatever comes, from however many sources, a client that asks as
// resolvers do is answered, memory stays within bounds, and what is malformed is
// counted by what is wrong with it.
func TestFloods(t *testing.T) {
	world := outsideWorld(t)
	world.mute.Store(true)
	for _, flood := range floods {
		t.Run(flood.name, func(t *testing.T) {
			s, err := New(Options{Zone: fill(t, cluster()), Upstream: forwarder(world.addr), Listen: loopback(), Log: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			life, end := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- s.Serve(life, 0) }()
			defer func() { end(); <-done }()
			addr := s.Addrs()[0]

			before := heap()
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			var senders sync.WaitGroup
			for range 2 {
				senders.Go(func() {
					for ctx.Err() == nil {
						// A new source for every few packets: on loopback 127/8 is anybody's.
						from := &net.UDPAddr{IP: net.IPv4(127, byte(1+rand.IntN(250)), byte(rand.IntN(256)), byte(1+rand.IntN(250)))}
						conn, err := net.DialUDP("udp4", from, net.UDPAddrFromAddrPort(addr))
						if err != nil {
							t.Error(err)
							return
						}
						for range 20 {
							conn.Write(flood.packet())
						}
						conn.Close()
					}
				})
			}
			answered, failed := 0, 0
			for ctx.Err() == nil {
				if askPatiently(addr.String()) {
					answered++
				} else {
					failed++
				}
			}
			during := heap()
			stop()
			senders.Wait()
			if answered == 0 || failed > 0 {
				t.Errorf("the client was answered %d times, and %d times not", answered, failed)
			}
			if grown := during - before; grown > 48<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
			c := s.stats.sum()["udp"]
			t.Logf("%d packets, %d answers to the client, heap %+d KiB, %d refused", c.queries.Load(), answered, (during-before)>>10, c.busy.Load())
			for p := range c.problem {
				if n := c.problem[p].Load(); fmt.Sprint(wire.Problem(p)) == flood.problem && n < 100 || fmt.Sprint(wire.Problem(p)) != flood.problem && flood.problem != "" && n > 0 {
					t.Errorf("%d counted as %s", n, fmt.Sprint(wire.Problem(p)))
				}
			}
		})
	}
}

// askPatiently asks once and, as resolvers do, again; each time for a second.
func askPatiently(addr string) bool {
	c := mdns.Client{Timeout: time.Second}
	for range 5 {
		r, _, err := c.Exchange(new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA), addr)
		if err == nil && len(r.Answer) == 1 {
			return true
		}
	}
	return false
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}
