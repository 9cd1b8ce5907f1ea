package announce

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
)

type recorder struct {
	calls []string
	err   error
}

func (r *recorder) ApplyVIPs(_ context.Context, vips []netip.Addr) error {
	r.calls = append(r.calls, fmt.Sprint(vips))
	return r.err
}

func TestApplyOnlyOnChangeAndRetriesAfterFailure(t *testing.T) {
	a, b := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	r := &recorder{err: errors.New("no")}
	an := New("no-such-device", r, slog.New(slog.DiscardHandler))
	if err := an.Apply(t.Context(), []netip.Addr{b, a}); err == nil {
		t.Error("the responder's error is lost")
	}
	r.err = nil
	for _, want := range [][]netip.Addr{{b, a}, {a, b}, {b}} {
		if err := an.Apply(t.Context(), want); err != nil {
			t.Error(err)
		}
	}
	want := "[[10.9.0.1 10.9.0.2] [10.9.0.1 10.9.0.2] [10.9.0.2]]"
	if got := fmt.Sprint(r.calls); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestARPAnnouncement(t *testing.T) {
	mac, _ := net.ParseMAC("02:00:00:00:00:01")
	got := hex.EncodeToString(arpAnnouncement(mac, netip.MustParseAddr("10.9.0.1")))
	if want := "0001080006040001" + "020000000001" + "0a090001" + "000000000000" + "0a090001"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
