package echo

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAsk: each question is asked once, and what a server keeps to itself is lost.
func TestAsk(t *testing.T) {
	for _, oneFlow := range []bool{false, true} {
		server, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		came := make(chan int, 1)
		go func() {
			buf := make([]byte, 512)
			for n := 0; ; n++ {
				k, from, err := server.ReadFrom(buf)
				if err != nil {
					came <- n
					return
				}
				if n == 3 {
					continue
				}
				buf[2], buf[7] = 0x80, 1
				server.WriteTo(buf[:k], from)
			}
		}()
		conf := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(conf, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		a := Ask{Name: "web.default.svc.cluster.local.", Rate: 50, For: 400 * time.Millisecond, Timeout: 500 * time.Millisecond, OneFlow: oneFlow, Conf: conf,
			port: server.LocalAddr().(*net.UDPAddr).Port}
		if err := a.Run(t.Context(), &out); !errors.Is(err, ErrFailed) {
			t.Errorf("one flow %t: %v", oneFlow, err)
		}
		server.Close()
		if got := out.String(); <-came != 20 || !strings.Contains(got, "20 questions, 1 failed") || !strings.Contains(got, "1 failed in second 0: timeout") {
			t.Errorf("one flow %t:\n%s", oneFlow, got)
		}
	}
}
