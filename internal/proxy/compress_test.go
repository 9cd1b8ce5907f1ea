package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
)

// decoded undoes a Content-Encoding.
func decoded(t testing.TB, coding, body string) string {
	t.Helper()
	r := io.Reader(strings.NewReader(body))
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "":
	default:
		t.Fatalf("coding %q", coding)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return string(b)
}

// TestCompression: over HTTP/1, 2 and 3, of bodies with a length and without, long and short.
func TestCompression(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	pages := handled(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(rw, strings.Repeat("page ", 1000))
	})
	app := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscan(r.URL.Query().Get("n"), &n)
		rw.Header().Set("Content-Type", "application/json; charset=utf-8")
		rw.Header().Set("ETag", `"tag"`)
		rw.Header().Set("Accept-Ranges", "bytes")
		text := strings.Repeat("0123456789", n/10)
		if r.URL.Query().Has("chunks") {
			for part := range strings.SplitSeq(text, "9") {
				_, _ = io.WriteString(rw, part+"9")
				rw.(http.Flusher).Flush()
			}
			return
		}
		rw.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = io.WriteString(rw, text)
	})
	w.set(service("a"), slice("a", addrOf(app)), service("pages"), slice("pages", addrOf(pages)), ingress("i", "h.example", "/ a"), secret(t, "none"),
		annotate(ingress("j", "pages.example", "/ empty"), "custom-http-errors", "503", "default-backend", "pages"),
		configMap("fairway-system", "ingress-nginx-controller", "use-gzip", "true", "enable-brotli", "true"))
	for name, c := range map[string]*http.Client{"http": w.client(), "https": w.client(), "h3": w.thirdClient()} {
		at := map[bool]string{true: "http", false: "https"}[name == "http"]
		for _, try := range []struct{ method, query, accept, coding string }{
			{"GET", "n=1000", "gzip, br", "br"}, {"GET", "n=1000", "gzip", "gzip"}, {"GET", "n=1000", "br;q=0, gzip;q=0.5", "gzip"}, {"GET", "n=1000", "", ""},
			{"GET", "n=100", "gzip", ""}, {"GET", "n=100", "br", "br"}, {"GET", "n=10", "br", ""}, {"GET", "n=1000000", "gzip", "gzip"}, {"GET", "n=3000&chunks", "gzip", "gzip"},
			{"GET", "n=3000&chunks", "br", "br"}, {"GET", "n=0", "gzip, br", ""}, {"HEAD", "n=1000", "gzip", "gzip"}, {"POST", "n=1000", "gzip", "gzip"},
		} {
			resp, text, err := w.try(c, try.method, at+"://h.example/?"+try.query, nil, "Accept-Encoding", try.accept)
			if err != nil {
				t.Fatalf("%s %+v: %v", name, try, err)
			}
			h := resp.Header
			var n int
			fmt.Sscanf(try.query, "n=%d", &n)
			want := strings.Repeat("0123456789", n/10)
			if strings.Contains(try.query, "chunks") {
				want += "9"
			}
			if try.method != "HEAD" && decoded(t, h.Get("Content-Encoding"), text) != want {
				t.Errorf("%s %+v: another text", name, try)
			}
			if h.Get("Content-Encoding") != try.coding || (h.Get("Vary") == "Accept-Encoding") != (n >= 100) || h.Get("ETag") != map[bool]string{true: `"tag"`, false: `W/"tag"`}[try.coding == ""] ||
				(h.Get("Accept-Ranges") == "") != (try.coding != "") || try.coding != "" && (name != "h3" || try.method == "HEAD") && h.Get("Content-Length") != "" { // quic-go counts what is short
				t.Errorf("%s %+v: %v", name, try, h)
			}
			if try.coding != "" && n == 1_000_000 && len(text) > 10_000 {
				t.Errorf("%s: %d octets are %d", name, n, len(text))
			}
		}
		resp, text, err := w.try(c, "GET", at+"://pages.example/", nil, "Accept-Encoding", "gzip")
		if err != nil || resp.Header.Get("Content-Encoding") != "gzip" || decoded(t, "gzip", text) != strings.Repeat("page ", 1000) {
			t.Errorf("%s, a page for an error: %v %v", name, err, resp)
		}
	}
}

// TestCompressedStream: what an endpoint flushes is with the client at once.
func TestCompressedStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	parts := map[string]chan string{"gzip": make(chan string), "br": make(chan string), "identity": make(chan string)}
	app := handled(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case s := <-parts[r.Header.Get("Accept-Encoding")]:
				_, _ = io.WriteString(rw, s)
				rw.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	w.set(service("a"), slice("a", addrOf(app)), ingress("i", "h.example", "/ a"), configMap("fairway-system", "ingress-nginx-controller", "use-gzip", "true", "enable-brotli", "true", "gzip-types", "text/event-stream", "brotli-types", "*"))
	for coding, next := range parts {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://h.example/", nil)
		r.Header.Set("Accept-Encoding", coding)
		go func() { next <- "data: first\n" }()
		resp, err := w.client().Do(r)
		if err != nil || resp.Header.Get("Content-Encoding") != strings.TrimPrefix(coding, "identity") {
			t.Errorf("%s: %v %v", coding, err, resp)
			continue
		}
		body := io.Reader(resp.Body)
		switch coding {
		case "br":
			body = brotli.NewReader(resp.Body)
		case "gzip":
			if body, err = gzip.NewReader(resp.Body); err != nil {
				t.Fatal(err)
			}
		}
		lines := bufio.NewReader(body)
		for i := range 3 {
			if i > 0 {
				next <- fmt.Sprintf("data: %d\n", i)
			}
			if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
				t.Fatalf("%s: %q %v", coding, line, err)
			}
		}
		resp.Body.Close()
	}
}

// TestCompressionLikeNginx compares with the gzip module of Debian's nginx.
func TestCompressionLikeNginx(t *testing.T) {
	w := &twins{world: newWorld(t), seen: map[string]*sight{}}
	main := w.endpoint("main")
	inside := "  gzip on; gzip_comp_level 1; gzip_disable \"curl/1\"; gzip_http_version 1.1; gzip_min_length 256; gzip_types text/plain application/json; gzip_proxied any; gzip_vary on;\n" + locations("/")
	w.startNginx([]twin{{host: "gzip.example", server: inside}}, map[string]string{"main": "server " + main + ";"})
	w.set(service("main"), slice("main", netip.MustParseAddrPort(main)), ingress("i", "gzip.example", "/ main"),
		configMap("fairway-system", "ingress-nginx-controller", "use-gzip", "true", "gzip-types", "text/plain application/json", "gzip-disable", "curl/1"))
	r := rand.New(rand.NewPCG(1, 2))
	coded := 0
	for range 400 {
		a := ask{method: pick1(r, "GET", "GET", "GET", "HEAD", "POST"), host: "gzip.example"}
		a.target = "/?status=" + pick1(r, "200", "200", "200", "206", "404", "403", "500", "304", "204") + "&more=" + pick1(r, "0", "20", "30", "24", "25", "2000")
		for _, h := range [][]string{
			{"", "Accept-Encoding: gzip", "Accept-Encoding: gzip, deflate, br", "Accept-Encoding: deflate", "Accept-Encoding: br;q=1.0, gzip;q=0.8, *;q=0.1", "Accept-Encoding: gzip;q=0", "Accept-Encoding: gzip; q=0.001",
				"Accept-Encoding: gzip;q=0.0, deflate", "Accept-Encoding: GZIP", "Accept-Encoding: x-gzip", "Accept-Encoding: *"},
			{"", "X-Answer: Content-Type=text/plain", "X-Answer: Content-Type=Application/JSON;charset=utf-8", "X-Answer: Content-Type=text/html", "X-Answer: Content-Type=image/png"},
			{"", "", "X-Answer: Etag=\"strong\"", "X-Answer: Etag=W/\"weak\"", "X-Answer: Etag=odd"}, {"", "", "X-Answer: Content-Encoding=br"}, {"", "", "X-Answer: Vary=Origin"}, {"", "", "X-Answer: Accept-Ranges=bytes"}, {"", "", "", "User-Agent: curl/1"}, {"", "", "X-Answer: Last-Modified=Mon, 01 Jan 2024 00:00:00 GMT"}} {
			if h := pick1(r, h...); h != "" {
				a.headers = append(a.headers, h)
			}
		}
		theirs, ours := w.send(w.nginx, a, nil), w.send(w.server.Addr("http").String(), a, nil)
		slices.Sort(theirs.header["Vary"])
		slices.Sort(ours.header["Vary"])
		d := differences(theirs, ours, "Content-Encoding", "Accept-Ranges", "Content-Type", "Content-Length")
		if len(d) == 0 && a.method != "HEAD" && decodedGzip(theirs) != decodedGzip(ours) {
			d = []string{"another body"}
		}
		if len(d) > 0 {
			t.Errorf("%s %s %q:\n  %s", a.method, a.target, a.headers, strings.Join(d, "\n  "))
		}
		if ours.header.Get("Content-Encoding") == "gzip" {
			coded++
		}
	}
	if coded < 20 {
		t.Errorf("only %d were compressed", coded)
	}
}

func decodedGzip(o outcome) string {
	if o.header.Get("Content-Encoding") != "gzip" {
		return o.body
	}
	r, err := gzip.NewReader(bytes.NewReader([]byte(o.body)))
	if err != nil {
		return err.Error()
	}
	b, err := io.ReadAll(r)
	return fmt.Sprint(string(b), err)
}
