package proxy

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
)

// TestBalancedAffinity: in the default mode clients stay while nothing changes, and a new
// pod takes over its share of them, no more.
func TestBalancedAffinity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newPods(w, 4)
	s := p.slices()
	w.set(append(s[:3:3], service("a"), annotate(ingress("i", "h", "/ a"), "affinity", "cookie"), annotate(ingress("p", "p", "/ a"), "affinity", "cookie", "affinity-mode", "persistent"))...)
	const clients = 200
	ask := func(host string, cookies []string) (pods []string) {
		for i := range clients {
			resp, text := w.get("http://"+host+"/", "Cookie", cookies[i])
			pods = append(pods, text)
			for _, c := range resp.Cookies() {
				cookies[i] = c.Name + "=" + c.Value
			}
		}
		return pods
	}
	balanced, persistent := make([]string, clients), make([]string, clients)
	first, kept := ask("h", balanced), ask("p", persistent)
	share := map[string]int{}
	for i, again := range ask("h", balanced) {
		share[again]++
		if again != first[i] {
			t.Fatalf("client %d moved from %s to %s", i, first[i], again)
		}
	}
	for pod, n := range share {
		if n < clients/3-35 || n > clients/3+35 {
			t.Errorf("pod %s has %d clients of %d", pod, n, clients)
		}
	}
	w.set(s[3])
	moved := 0
	for i, now := range ask("h", balanced) {
		if now != first[i] {
			if moved++; now != "3" {
				t.Errorf("client %d moved from %s to %s, which is not new", i, first[i], now)
			}
		}
	}
	if moved < clients/4-30 || moved > clients/4+30 {
		t.Errorf("%d of %d clients moved to the new pod", moved, clients)
	}
	for i, now := range ask("p", persistent) {
		if now != kept[i] {
			t.Errorf("persistent: client %d moved from %s to %s", i, kept[i], now)
		}
	}
	// The pod that leaves hands on its own clients only.
	before := ask("h", balanced)
	w.set(sliceNamed("a-0", "a"))
	for i, now := range ask("h", balanced) {
		if before[i] != "0" && now != before[i] || now == "0" {
			t.Errorf("client %d moved from %s to %s", i, before[i], now)
		}
	}
}

// TestChangeOnFailure: a client whose pod fails keeps its cookie, or gets another one if
// the Ingress says so, in both modes.
func TestChangeOnFailure(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"balanced", "persistent"} {
		w := newWorld(t)
		p := newPods(w, 2)
		var broken [2]atomic.Bool
		for i := range 2 {
			p.addrs[i] = w.backendFunc(func(rw http.ResponseWriter, _ *http.Request) {
				if broken[i].Load() {
					panic(http.ErrAbortHandler)
				}
				fmt.Fprint(rw, i)
			})
		}
		w.set(append(p.slices(), service("a"), annotate(ingress("k", "keep", "/ a"), "affinity", "cookie", "affinity-mode", mode),
			annotate(ingress("c", "change", "/ a"), "affinity", "cookie", "affinity-mode", mode, "session-cookie-change-on-failure", "true"))...)
		for host, want := range map[string]int{"keep": 0, "change": 1} {
			broken[0].Store(false)
			cookie := ""
			for pod := ""; pod != "0"; {
				resp, text := w.get("http://" + host + "/")
				if pod = text; len(resp.Cookies()) != 1 {
					t.Fatalf("%s %s: cookies %v", mode, host, resp.Cookies())
				}
				cookie = resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value
			}
			broken[0].Store(true)
			resp, text := w.get("http://"+host+"/", "Cookie", cookie)
			if text != "1" || len(resp.Cookies()) != want {
				t.Errorf("%s %s: pod %s, cookies %v", mode, host, text, resp.Cookies())
			}
			if want == 0 {
				continue
			}
			broken[0].Store(false)
			cookie = resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value
			for range 4 {
				if _, text := w.get("http://"+host+"/", "Cookie", cookie); text != "1" {
					t.Errorf("%s %s: the new cookie leads to pod %s", mode, host, text)
				}
			}
		}
	}
}
