package fairway

import (
	"bytes"
	"os"
	"testing"
)

func TestPageIsFresh(t *testing.T) {
	have, err := os.ReadFile("../../../docs/annotations-fairway.md")
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	WritePage(&want)
	if !bytes.Equal(have, want.Bytes()) {
		t.Error("run `make generate`")
	}
}
