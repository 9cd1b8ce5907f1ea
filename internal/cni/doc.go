// Package cni is the short-lived half of Fairway's CNI plugin: the program that
// the container runtime executes for every pod, and the protocol by which it
// hands the work to the agent on the same node.
//
// The plugin itself changes nothing. It opens the pod's network namespace,
// passes the descriptor and its environment over a unix socket, and prints the
// answer; so that its start costs two milliseconds, that it needs no privilege
// of its own and no state, and that the agent does not depend on mount
// propagation to see the namespace. Package cni/server is the other half.
//
// Keep the imports of this package few: they are loaded twice for every pod.
package cni
