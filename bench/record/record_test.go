package record

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestSet(t *testing.T) {
	var s Set
	for _, v := range []float64{30, 10, 20} {
		s.Add("fairway", "start", "time", "ms", v)
	}
	s.Add("peer", "start", "time", "ms", 0.5)
	s.Add("peer", "start", "time", "ms", 1.5)
	want := []Record{
		{"start", "time", "ms", "fairway", 20, 10, 30, 3},
		{"start", "time", "ms", "peer", 1, 0.5, 1.5, 2},
	}
	if got := s.Records(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	var table bytes.Buffer
	s.WriteTable(&table)
	if want := "| start | time | peer | 1 | 0.50 | 1.50 | ms | 2 |\n"; !bytes.HasSuffix(table.Bytes(), []byte(want)) {
		t.Errorf("got\n%s", table.String())
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := s.WriteJSON(dir, "x"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "x.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got []Record
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}
