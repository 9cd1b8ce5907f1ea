package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestSlowClients: ten thousand clients that never end their requests keep nobody
// from being served, and take a bounded amount of memory each. A machine with fewer
// descriptors would fail in net.Dial.
func TestSlowClients(t *testing.T) {
	w := newWorld(t)
	w.set(service("a"), slice("a", addrOf(w.backend("b"))), ingress("i", "", "/ a"))
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := inUse()
	const n = 10_000
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	crowd := exec.Command(self) // a process of its own, as both ends would be too many descriptors for one
	crowd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", asCrowd, w.server.Addr("http"), n))
	crowd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := crowd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := crowd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = crowd.Process.Kill()
		_ = crowd.Wait()
	}()
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		if resp, _ := w.get("http://h/"); resp.StatusCode != 200 {
			t.Fatalf("another client beside %s slow ones: %d", lines.Text(), resp.StatusCode)
		}
	}
	if lines.Text() != "ready" {
		t.Fatalf("the crowd says %q", lines.Text())
	}
	time.Sleep(500 * time.Millisecond)
	per := (inUse() - before) / n
	t.Logf("%d octets for each slow client", per)
	if per > 32<<10 {
		t.Errorf("%d octets for each slow client", per)
	}
	if resp, _ := w.get("http://h/"); resp.StatusCode != 200 {
		t.Errorf("another client beside %d slow ones: %d", n, resp.StatusCode)
	}
}

// asCrowd makes this program a crowd of slow clients: "ADDRESS COUNT".
const asCrowd = "FAIRWAY_TEST_CROWD"

func beCrowd(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var conns []net.Conn
	for i := range n {
		c, err := net.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		conns = append(conns, c)
		// In the middle of a head, of a body, or of the preface of HTTP/2.
		text := "GET / HTTP/1.1\r\nHost: h\r\nX-Slow: "
		switch i % 20 {
		case 1:
			text = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx"
		case 2:
			text = "PRI * HTTP/2.0\r\n\r\nSM"
		}
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		if i%100 == 0 {
			fmt.Println(i)
		}
	}
	fmt.Println("ready")
	time.Sleep(time.Minute)
	runtime.KeepAlive(conns)
	return nil
}
