// Package netdev is the applier of the node's ordinary networking: the veth
// pair of each pod, the routes to pods and to other nodes, the unreachable
// routes that keep addresses of the cluster inside it, and the few sysctls
// without which a node does not forward.
//
// It decides nothing and knows neither Services nor policies; packets are
// treated by the programs of apply/bpf. Invariants:
//
//   - Routes are ours if and only if they carry one of our protocol numbers;
//     nothing else in the routing table is changed or removed.
//   - A pod's link is made down. No packet passes before Up, which the caller
//     calls once the programs are attached.
//   - There is no ARP or neighbour discovery between a pod and its node: both
//     sides have permanent entries, and the gateway's address exists nowhere.
package netdev
