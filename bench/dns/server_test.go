package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestPeerEnds: who waits for a program that ends is told at once, with its last
// words, and the program that is left out does not take the others with it.
func TestPeerEnds(t *testing.T) {
	b := &bench{dir: t.TempDir(), tools: tools{env: os.Environ()}}
	gone, other := &server{name: "coredns", addr: "127.0.0.1:9"}, &server{name: "knot", addr: "127.0.0.1:9"}
	for s, script := range map[*server]string{gone: "sleep 0.1; echo out of luck; exit 3", other: "sleep 60"} {
		if err := s.start(t.Context(), b.tools, b.dir, []string{"sh", "-c", script}); err != nil {
			t.Fatal(err)
		}
		defer s.stop()
		b.servers = append(b.servers, s)
	}
	began := time.Now()
	_, err := until(gone, gone.known(), "", time.Minute)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("until: %v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := b.lose(gone, "test", err); err != nil || len(b.servers) != 1 || b.servers[0] != other || len(b.lost) != 1 {
		t.Errorf("lose: %v; left %v, lost %v", err, b.servers, b.lost)
	}
	ours := &server{name: "fairway", life: gone.life, ended: gone.ended}
	if err := b.lose(ours, "test", os.ErrDeadlineExceeded); err == nil {
		t.Error("it went on without fairway")
	}
}
