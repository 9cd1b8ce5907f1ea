// Package version holds the version of this build.
package version

// Version is set by the linker (-X) in a release; "dev" otherwise.
var Version = "dev"

// Kubernetes is the upstream release that `fairway up` runs; kube/go.mod pins it.
const Kubernetes = "v1.36.3"
