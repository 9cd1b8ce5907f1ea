package fcgi

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// reads gives b in pieces of n octets.
func reads(b []byte, n int) func([]byte) (int, error) {
	return func(into []byte) (int, error) {
		if len(b) == 0 {
			return 0, io.EOF
		}
		m := copy(into[:min(n, len(into))], b)
		b = b[m:]
		return m, nil
	}
}

// TestReader: what was appended is read, in whatever pieces it comes.
func TestReader(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	b := AppendRecord(AppendRecord(nil, Stdout, []byte("a")), Stderr, []byte("log"))
	b = AppendRecord(AppendRecord(b, Stdout, []byte(long)), Stdout, nil)
	b = append(b, version, byte(End), 0, 1, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'p', 'a', 'd')
	for _, n := range []int{1, 7, 4096} {
		r := Reader{Read: reads(b, n)}
		var out bytes.Buffer
		for {
			k, content, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if k == Stdout {
				out.Write(content)
			}
		}
		if out.String() != "a"+long {
			t.Errorf("in pieces of %d: %d octets", n, out.Len())
		}
	}
	for what, bad := range map[string][]byte{"version": {2, 6, 0, 1, 0, 0, 0, 0}, "request": {1, 6, 0, 2, 0, 0, 0, 0}, "cut": {1, 6, 0, 1, 0, 9, 0, 0, 1}, "HTTP": []byte("HTTP/1.1 200 OK"), "overload": {1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0}} {
		if _, _, err := (&Reader{Read: reads(bad, 100)}).Next(); err == nil || err == io.EOF {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestParams(t *testing.T) {
	if got, want := AppendParam(nil, "N", strings.Repeat("v", 200)), "\x01\x80\x00\x00\xc8N"+strings.Repeat("v", 200); string(got) != want {
		t.Errorf("%q", got)
	}
}

// FuzzReader: no octets make it panic, or give more than there are.
func FuzzReader(f *testing.F) {
	f.Add(AppendRecord(nil, Stdout, []byte("a")))
	f.Add([]byte{1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, sum := Reader{Read: reads(b, 3)}, 0
		for {
			_, content, err := r.Next()
			if err != nil {
				break
			}
			sum += len(content)
		}
		if sum > len(b) {
			t.Errorf("%d octets of %d", sum, len(b))
		}
	})
}
