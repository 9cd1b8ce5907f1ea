// Package server is the lasting half of Fairway's CNI plugin: it runs in the
// agent, receives the calls of package cni, and gives each pod its link and its
// addresses.
//
// It is not a datapath (what happens to packets is behind the interface
// Datapath) and has no opinion about policies, but for one: no packet passes a
// link that the datapath has not been attached to. Invariants:
//
//   - A record of what a pod has is on disk before the pod has it, and goes
//     after the pod has lost it. The truth is the link: a record whose link is
//     gone is a lost DEL, and its addresses are free.
//   - Records live in /run, as links do: a reboot forgets both.
//   - Every call may come twice, late, or for a container that is long gone.
package server
