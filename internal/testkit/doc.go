// Package testkit builds small networks for tests: nodes, pods and clients as
// network namespaces of this process, joined by veth pairs and one bridge.
//
// It is for tests only. Nothing of it can reach the machine's own network: the
// namespaces have no link to it and no route. Namespaces have no names and no
// files; they are gone with the test, or with the process.
package testkit
