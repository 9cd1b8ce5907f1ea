// Package file is the source that reads Kubernetes manifests from files: YAML
// or JSON, one object, many, or a List. It writes what they say to a
// state.Store, again whenever a file changes.
//
// It serves tests, benchmarks, and people who want the names without the
// cluster. It is no API server: it sets no defaults beyond those that reading
// an object implies, and gives no addresses. A file that cannot be read leaves
// the state as it was.
package file
