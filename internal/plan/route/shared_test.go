package route

import (
	"reflect"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// TestSharedForward changes each field of a Forward: what differs must not be shared.
func TestSharedForward(t *testing.T) {
	target := Target{Backend: BackendKey{Service: model.Name{Namespace: "n", Name: "s"}}, Weight: 1}
	plain := func() *Forward { return &Forward{Targets: []Target{target}} }
	s := newShared()
	if a, b := s.forward(plain()), s.forward(plain()); a != b {
		t.Error("equal ones are not shared")
	}
	other := target
	other.Weight = 2
	values := map[string]any{
		"Targets": []Target{other}, "Canary": &Canary{}, "Protocol": H2C, "AutoTLS": true, "Timeouts": Timeouts{Read: time.Second}, "Tries": 2,
		"Host": "other.example", "Set": []Header{{}}, "Affinity": &Affinity{}, "Balance": &Balance{}, "Retry": &Retry{}, "TLS": &BackendTLS{},
		"Fallback": &target.Backend, "Optional": true, "Connect": true, "Hold": int64(7), "Backlog": &Backlog{}, "Script": &Script{}, "Vars": []Field{{Value: dialect.Template{}}},
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Forward]()) {
		f := plain()
		v, ok := values[field.Name]
		if !ok {
			t.Fatalf("field %s is new: does shared.forward look at it?", field.Name)
		}
		reflect.ValueOf(f).Elem().FieldByIndex(field.Index).Set(reflect.ValueOf(v))
		if got := s.forward(f); !reflect.DeepEqual(got, f) {
			t.Errorf("%s: got %+v in the place of %+v", field.Name, got, f)
		}
	}
}

// TestSharedBound makes more than is shared, and what comes again must still be right.
func TestSharedBound(t *testing.T) {
	s := newShared()
	for range 2 {
		for i := range mostShared + 10 {
			f := &Forward{Targets: []Target{{Weight: uint32(i)}}}
			if got := s.forward(f); got.Targets[0].Weight != uint32(i) {
				t.Fatalf("got the Forward of %d for %d", got.Targets[0].Weight, i)
			}
			if len(s.forwards) > mostShared {
				t.Fatalf("%d are kept", len(s.forwards))
			}
		}
	}
}
