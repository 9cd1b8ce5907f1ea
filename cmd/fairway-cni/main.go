// Command fairway-cni is the CNI plugin alone: `fairway cni` without the rest,
// because it is executed twice for every pod and starts in two milliseconds.
package main

import (
	"os"

	"github.com/fairway-net/fairway/internal/cni"
)

func main() { os.Exit(cni.OS().Run()) }
