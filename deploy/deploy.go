// Package deploy embeds the manifest that installs Fairway into a cluster. It
// is rendered from charts/fairway by `make generate`, and never edited.
package deploy

import _ "embed"

// Manifest is the content of fairway.yaml: YAML documents in the order in
// which they are to be applied.
//
//go:embed fairway.yaml
var Manifest []byte
