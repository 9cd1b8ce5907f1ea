// Package echo is the program behind the image fairway.dev/echo: a server
// whose answers say which pod on which node got the request and from whom, and
// a client that asks from inside a pod. The tutorial and the tests use it on
// both ends.
//
// It is not part of the network and knows nothing of it. What it prints is
// what it saw on its own socket, so that it can serve as a witness.
package echo
