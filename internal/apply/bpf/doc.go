// Package bpf is the applier of the kernel datapath: it puts the plans for
// Services and NetworkPolicy into eBPF maps and attaches the programs of /bpf.
//
// It decides nothing: what a frontend or a policy means is planned in
// plan/service and plan/policy, and what happens to a packet is written in
// bpf/lib. It is the only importer of cilium/ebpf. Invariants:
//
//   - Maps and links are pinned below Options.Dir/<layout version>. Close, or
//     the death of the process, changes no forwarding; the next Open continues
//     with the same maps and swaps the programs in place. The programs of pods
//     are filters of their devices and need no pin.
//   - Callers speak names; numbers (of services, backend sets, policy sets,
//     classes) are given here, restored from the pinned maps, and never given
//     twice while anything may still refer to them.
//   - Nothing found in the maps is removed before a Prune call, which the
//     caller makes once its sources have synced.
//   - Updates add before they remove: a backend set is written completely
//     before a frontend points at it, and outlives that by a grace period.
//   - A pod whose policy is not known yet is closed.
package bpf
