// Package cluster is `fairway up`: a real Kubernetes on one machine, made of
// upstream's own programs, in which every node is a set of Linux namespaces.
//
// Reading order: up.go and down.go are the two stories, top down. config.go
// says what a person can choose, plan.go which addresses follow from it,
// component.go which processes run with which arguments, supervise.go who
// keeps them alive. The packages below it each know one thing: cgroup, pki,
// kubeconfig, underlay (the machine's network), node (what runs inside one),
// mirror (a registry of the images that a node has).
//
// It is not an installer for real clusters, and knows no more of Fairway than
// the manifest that it applies and the image that it makes.
//
// Invariants: everything that a cluster leaves on the machine is under its
// state directory, its cgroup "fairway/NAME", its link "fairwayN" and the routes
// and rules of that number, so `down` can remove it knowing only the name;
// killing the supervisor ends every process of the cluster; and `up` after any
// crash leads to the same place as `up` on a fresh machine, with the
// cluster's objects kept.
package cluster
