// Package kube is the source that follows a Kubernetes API server: it turns API
// objects into model values and writes them to a state.Store, and nothing else.
//
// It keeps no second copy of the objects: reflectors write straight into the
// store, stripped to what Fairway uses. Updates that change nothing we use
// (heartbeats, other people's status) are dropped here. With apply/status it is
// the only package that imports client-go.
package kube
