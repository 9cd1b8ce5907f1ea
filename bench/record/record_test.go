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
		{"start", "time", "ms", "fairway", 20, 10, 30, 3, false},
		{"start", "time", "ms", "peer", 1, 0.5, 1.5, 2, false},
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

func TestCases(t *testing.T) {
	var s Set
	s.Add("fairway", "10 Services", "start", "s", 1)
	s.Add("fairway", "10 Services", "start", "s", 3)
	s.Add("fairway", "10 Services", "speed", "ratio", 0.98)
	s.Add("fairway / peer", "10 Services", "start", "ratio", 0.01)
	s.AddOver("peer", "10 Services", "start", "s", 150)
	s.Add("fairway", "1000 Services", "start", "s", 4)
	var got bytes.Buffer
	s.WriteCases(&got)
	want := `10 Services:

| | fairway | fairway / peer | peer |
|---|---:|---:|---:|
| start, s | 2 (1–3) | 0.01 | > 150 |
| speed | 0.98 |  |  |

1000 Services:

| | fairway |
|---|---:|
| start, s | 4 |

`
	if got.String() != want {
		t.Errorf("got\n%s", &got)
	}
}

func TestOver(t *testing.T) {
	var s Set
	s.AddOver("peer", "start", "time", "s", 180)
	var table bytes.Buffer
	s.WriteTable(&table)
	if want := "| start | time | peer | > 180 | 180 | 180 | s | 1 |\n"; !bytes.HasSuffix(table.Bytes(), []byte(want)) {
		t.Errorf("got\n%s", table.String())
	}
}

func TestSplice(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("a\n<!-- x -->\nold\n<!-- /x -->\nb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Splice(page, "x", "new\n\n"); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(page)
	if got, want := string(b), "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"; err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	if err := Splice(page, "y", "new"); err == nil {
		t.Error("no error for a name that is not there")
	}
}
