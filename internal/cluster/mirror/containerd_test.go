package mirror

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bytesField encodes one field of bytes.
func bytesField(number byte, value string) string {
	return string(binary.AppendUvarint([]byte{number<<3 | wireBytes}, uint64(len(value)))) + value
}

// response is a GetImageResponse as containerd sends it: with labels before and
// times after the target, and a size between the target's strings.
func response(mediaType, digest string) string {
	target := bytesField(1, mediaType) + bytesField(2, digest) + string([]byte{3<<3 | wireVarint, 0x80, 0x01})
	image := bytesField(1, "name") + bytesField(2, bytesField(1, "k")+bytesField(2, "v")) + bytesField(3, target) + bytesField(7, "\x08\x01")
	return bytesField(1, image)
}

// serveGRPC serves one function over HTTP/2 on a socket, as containerd does.
func serveGRPC(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, message []byte)) *Containerd {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) < 5 || r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Containerd-Namespace") != "k8s.io" {
			t.Errorf("request %v, %d bytes, %v", r.Header, len(body), err)
			return
		}
		answer(w, r, body[5:])
	})}
	go func() { _ = server.Serve(listener) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	return NewContainerd(socket, "k8s.io")
}

func get(t *testing.T, c *Containerd, name string) (Descriptor, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.Get(ctx, name)
}

func TestGet(t *testing.T) {
	long := "long.test/" + strings.Repeat("x", 200) + ":latest"
	c := serveGRPC(t, func(w http.ResponseWriter, r *http.Request, message []byte) {
		w.Header().Set("Content-Type", "application/grpc")
		name, err := field(message, 1)
		switch {
		case err != nil || r.URL.Path != "/containerd.services.images.v1.Images/Get":
			t.Errorf("request %s %q: %v", r.URL.Path, message, err)
		case string(name) == "missing":
			w.Header().Set("Grpc-Status", "5")
		case string(name) == "denied":
			w.Header().Set("Grpc-Status", "7")
			w.Header().Set("Grpc-Message", "not%20for you")
		case string(name) == "short":
			_, _ = w.Write([]byte{0, 0, 0, 0, 9, 1})
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		default:
			body := response("type of "+string(name), "digest")
			_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...))
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		}
	})
	for _, name := range []string{"a", long} {
		d, err := get(t, c, name)
		if want := (Descriptor{MediaType: "type of " + name, Digest: "digest"}); err != nil || d != want {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if _, err := get(t, c, "missing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if _, err := get(t, c, "denied"); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "not for you") {
		t.Errorf("denied: %v", err)
	}
	if _, err := get(t, c, "short"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a cut message: %v", err)
	}
	if _, err := get(t, NewContainerd(filepath.Join(t.TempDir(), "none"), "k8s.io"), "a"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("no containerd: %v", err)
	}
}

// TestParseImage: every cut of a good answer is an error or lacks something,
// and none is a descriptor of its own.
func TestParseImage(t *testing.T) {
	whole := []byte(response("type", "digest"))
	want := Descriptor{MediaType: "type", Digest: "digest"}
	if d, err := parseImage(whole); err != nil || d != want {
		t.Fatalf("%+v, %v", d, err)
	}
	for n := range whole {
		if d, err := parseImage(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes: %+v", n, len(whole), d)
		}
	}
}

func FuzzField(f *testing.F) {
	f.Add([]byte(response("type", "digest")), uint64(1))
	f.Add([]byte{1<<3 | wireFixed32, 0, 0, 0, 0, 2<<3 | wireFixed64, 0, 0, 0, 0, 0, 0, 0, 0}, uint64(2))
	f.Fuzz(func(t *testing.T, message []byte, number uint64) {
		value, err := field(message, number)
		if err == nil && !bytes.Contains(message, value) {
			t.Errorf("%q is not in %q", value, message)
		}
	})
}
