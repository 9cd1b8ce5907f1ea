package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// corpus has a message for each branch of the parser, good ones first.
var corpus = []string{
	"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /a/b?c=d HTTP/1.1\r\nHost: h:80\r\nX-A:  b \t\r\nX-A: \xff\r\n\r\nGET",
	"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n3;a=b\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET",
	"GET / HTTP/1.0\r\nConnection: keep-alive, X\r\nX: y\r\n\r\n",
	"GET http://g/x?y HTTP/1.1\r\nHost: h\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /\"%zz\xfe HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\na",
	"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
	"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\na",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
	"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"GET / HTTP/1.1\nHost: h\n\n",
	"GET / HTTP/1.1\r\nHost: h\r\nX : 1\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nX: 1\r\n y\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nX: 1\x00\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nX: 1\rY: 2\r\n\r\n",
	"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
	"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
	"\n\r\n\r\n",
	"GET http://g?y HTTP/1.1\r\nHost: h\r\n\r\n",
}

// FuzzRequest: what we accept, net/http accepts, and reads as we do: the same
// request, the same body, and the same octets after it.
func FuzzRequest(f *testing.F) {
	for _, c := range corpus {
		f.Add([]byte(c), uint8(7))
	}
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		var ours Request
		n, err := ours.Parse(raw)
		if refusal := (*Error)(nil); err != nil && (!errors.As(err, &refusal) || refusal.Status < 400) {
			t.Fatalf("an error without a status: %v", err)
		}
		if n == 0 || err != nil {
			return
		}
		body, rest, ourErr := drain(&ours, raw[n:], int(step%64)+1)
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			if strings.Contains(err.Error(), "invalid URL escape") || strings.Contains(err.Error(), "parse ") {
				return // what a path may be is decided by route.CanonicalPath
			}
			t.Fatalf("net/http refuses: %v", err)
		}
		if theirs.Method != ours.Method || theirs.Host != ours.Host || theirs.RequestURI != ours.Target || theirs.ProtoMinor != ours.Minor || theirs.URL.RawQuery != ours.Query {
			t.Fatalf("net/http reads %q %q %q %d %q, we %q %q %q %d %q", theirs.Method, theirs.Host, theirs.RequestURI, theirs.ProtoMinor, theirs.URL.RawQuery,
				ours.Method, ours.Host, ours.Target, ours.Minor, ours.Query)
		}
		if want := theirs.URL.EscapedPath(); ours.Plain && ours.Path != want && (ours.Path != "/" || want != "") {
			t.Fatalf("path %q, net/http %q", ours.Path, want)
		}
		sameFields(t, &ours, theirs)
		want, theirErr := io.ReadAll(theirs.Body)
		if ourErr != nil {
			return // stricter is fine
		}
		if theirErr != nil || !bytes.Equal(body, want) {
			t.Fatalf("body %q, net/http %q, %v", body, want, theirErr)
		}
		r := bufio.NewReader(bytes.NewReader(raw))
		again, _ := http.ReadRequest(r)
		_, _ = io.Copy(io.Discard, again.Body)
		if left, _ := io.ReadAll(r); !bytes.Equal(left, rest) {
			t.Fatalf("left %q, net/http %q", rest, left)
		}
	})
}

// drain reads the body in steps, so that it is cut everywhere.
func drain(r *Request, raw []byte, step int) (body, rest []byte, err error) {
	first := min(step, len(raw))
	source := bytes.NewReader(raw[first:])
	var b Body
	b.Reset(&r.Head, raw[:first], source.Read)
	for scratch := make([]byte, step); ; {
		part, err := b.Next(scratch)
		body = append(body, part...)
		if err == io.EOF {
			left, _ := io.ReadAll(source)
			return body, append(slices.Clone(b.Rest()), left...), nil
		}
		if err != nil {
			return body, nil, err
		}
	}
}

func sameFields(t *testing.T, ours *Request, theirs *http.Request) {
	t.Helper()
	got := http.Header{}
	for i := range ours.Fields {
		f := &ours.Fields[i]
		if f.Known == Host || f.Known == TransferEncoding || f.Known == Trailer {
			continue // net/http has them elsewhere
		}
		got.Add(string(f.Name), string(f.Value))
	}
	want := theirs.Header.Clone()
	if want.Get("Pragma") == "no-cache" && got.Get("Cache-Control") == "" {
		delete(want, "Cache-Control") // net/http adds it
	}
	delete(want, "Trailer")
	delete(got, "Trailer")
	if len(got) != len(want) {
		t.Fatalf("fields %q, net/http %q", got, want)
	}
	for name, values := range want {
		if !slices.Equal(got[name], values) {
			t.Fatalf("%s: %q, net/http %q", name, got[name], values)
		}
	}
}

// FuzzResponse: the same for responses.
func FuzzResponse(f *testing.F) {
	for _, c := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 204\r\n\r\n", "HTTP/1.0 200 \r\n\r\nabc", "HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 20 O\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(c), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, get bool) {
		method := "HEAD"
		if get {
			method = "GET"
		}
		var ours Response
		n, err := ours.Parse(raw, method)
		if n == 0 || err != nil {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses: %v", err)
		}
		if theirs.StatusCode != ours.Status {
			t.Fatalf("status %d, net/http %d", ours.Status, theirs.StatusCode)
		}
		if !ours.Bodiless && (theirs.ContentLength != ours.Length || ours.Chunked != (len(theirs.TransferEncoding) > 0)) {
			t.Fatalf("length %d, chunked %v; net/http %d, %v", ours.Length, ours.Chunked, theirs.ContentLength, theirs.TransferEncoding)
		}
	})
}

// TestRefusals says what is refused, and with which status.
func TestRefusals(t *testing.T) {
	for raw, want := range map[string]int{
		corpus[0]: 0, corpus[1]: 0, corpus[2]: 0, corpus[3]: 0, corpus[4]: 0, corpus[5]: 0, corpus[6]: 0, corpus[7]: 0, corpus[8]: 0,
		corpus[9]: 400, corpus[10]: 400, corpus[11]: 400, corpus[12]: 400, corpus[16]: 400, corpus[17]: 400, corpus[18]: 400,
		corpus[19]: 400, corpus[20]: 400, corpus[21]: 400, corpus[22]: 400, corpus[23]: 505, corpus[24]: 400, corpus[25]: 400,
		"GET / HTTP/1.1\r\n\r\n":                                                    400,
		"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n":                              400,
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n":                                       400,
		"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n":                                       400,
		"GET x HTTP/1.1\r\nHost: a\r\n\r\n":                                         400,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":             501,
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n":                    417,
		"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 300) + "\r\n":  431,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n": 400,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n":                  400,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n":                     400,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n": 400,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n":      400,
		"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n":                                  400,
		"GET / HTTP/1.1\r\n Host: a\r\n\r\n":                                        400,
	} {
		var r Request
		_, err := r.Parse([]byte(raw))
		got, refusal := 0, (*Error)(nil)
		if errors.As(err, &refusal) {
			got = refusal.Status
		}
		if got != want {
			t.Errorf("%.80q: %d, want %d (%v)", raw, got, want, err)
		}
	}
}

// TestAbsoluteTargets: the host is that of the target, and no path is the root.
func TestAbsoluteTargets(t *testing.T) {
	for target, want := range map[string][3]string{
		"http://g/x?y": {"g", "/x", "y"},
		"http://g":     {"g", "/", ""},
		"HTTPS://g:1":  {"g:1", "/", ""},
		"http://g?y":   {"g", "/", "y"},
	} {
		var r Request
		if _, err := r.Parse([]byte("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")); err != nil || [3]string{r.Host, r.Path, r.Query} != want {
			t.Errorf("%s: %q %q %q, %v, want %q", target, r.Host, r.Path, r.Query, err, want)
		}
	}
	for _, target := range []string{"http://", "http:///x", "http://u@g/", "http://g:x/", "ftp://g/"} {
		var r Request
		if _, err := r.Parse([]byte("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")); err == nil {
			t.Errorf("%s: host %q, want an error", target, r.Host)
		}
	}
}

// TestBadChunks: each body is refused, wherever it is cut.
func TestBadChunks(t *testing.T) {
	for _, raw := range []string{
		"3\nabc\r\n0\r\n\r\n", "-1\r\n", "\r\n", "g\r\n", "1 \r\na\r\n", "1\r\nab\r\n", "1\r\na\n0\r\n\r\n", "ffffffffffffffff\r\n", "1;a\nb\r\na\r\n",
		"0\r\nX : y\r\n\r\n", "0\r\n X: y\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\nX\r\n\r\n", "0x1\r\na\r\n", "0\r\n" + strings.Repeat("X: yyyy\r\n", 2000) + "\r\n",
		"1;" + strings.Repeat("x", 20000) + "\r\na\r\n0\r\n\r\n",
	} {
		for step := 1; step < 20; step++ {
			r := Request{Head: Head{Chunked: true, Length: -1}}
			if body, _, err := drain(&r, []byte(raw), step); err == nil {
				t.Errorf("%.40q in steps of %d: read as %q", raw, step, body)
			}
		}
	}
}

// TestRequestsAllocateNothing: not when a client repeats itself.
func TestRequestsAllocateNothing(t *testing.T) {
	raw := []byte("GET /a/b?c=d HTTP/1.1\r\nHost: h.example\r\nUser-Agent: x\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n")
	var r Request
	if n := testing.AllocsPerRun(100, func() {
		if n, err := r.Parse(raw); n != len(raw) || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	raw := []byte("GET /a/b?c=d HTTP/1.1\r\nHost: h.example\r\nUser-Agent: x\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n")
	var r Request
	for b.Loop() {
		_, _ = r.Parse(raw)
	}
}
