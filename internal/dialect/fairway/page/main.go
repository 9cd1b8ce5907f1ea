// Command page writes docs/annotations-fairway.md. It is run by go generate.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
)

func main() {
	var b bytes.Buffer
	fairway.WritePage(&b)
	if err := os.WriteFile("../../../docs/annotations-fairway.md", b.Bytes(), 0o644); err != nil { //nolint:gosec
		fmt.Fprintln(os.Stderr, "page:", err)
		os.Exit(1)
	}
}
