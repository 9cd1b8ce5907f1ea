package h1

import (
	"io"
	"testing"
)

// TestPending: what is between two chunks is no part that has come: whoever waits for more
// before it passes a part on would wait for the next one.
func TestPending(t *testing.T) {
	reads := []string{"3", "\r\nabc", "\r", "\n", "2", "\r\nde\r\n", "0\r\n\r\n"}
	var b Body
	b.Reset(&Head{Chunked: true}, []byte("5\r\nhello\r\n5\r\nworld\r\n"), func(into []byte) (int, error) {
		n := copy(into, reads[0])
		reads = reads[1:]
		return n, nil
	})
	scratch := make([]byte, 100)
	for _, want := range []struct {
		part string
		more bool
	}{{"hello", true}, {"world", false}, {"abc", false}, {"de", false}} {
		part, err := b.Next(scratch)
		if err != nil || string(part) != want.part || b.Pending() != want.more {
			t.Fatalf("%q %v, pending %v; want %+v", part, err, b.Pending(), want)
		}
	}
	if _, err := b.Next(scratch); err != io.EOF || !b.Pending() {
		t.Errorf("the end: %v", err)
	}
	// A mistake that is there already is told by the next call.
	b.Reset(&Head{Chunked: true}, []byte("1\r\nx!"), nil)
	if part, err := b.Next(nil); string(part) != "x" || err != nil || !b.Pending() {
		t.Errorf("%q %v", part, err)
	}
	if _, err := b.Next(nil); err == nil {
		t.Error("the mistake is not told")
	}
}
