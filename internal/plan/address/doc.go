// Package address plans the addresses of Services of type LoadBalancer: which
// Service gets which (Plan), and which node announces which (Announcers).
//
// Both are pure functions. What is already written in a Service's status is
// part of the input, so an address once given stays, and a restart or another
// leader plans the same. It does not write statuses (apply/status) and does not
// answer ARP (apply/bpf).
package address
