// Package state holds what Fairway knows of the cluster: one immutable Snapshot
// at a time, replaced as a whole by a Writer, followed through a Watch.
//
// It does not fetch (package source does) and does not decide (package plan
// does). Invariants:
//
//   - A Snapshot never changes; reading one needs no lock and no copy. Tables
//     are B-trees that share all nodes that did not change, so that a new
//     snapshot after one change costs O(log n), not O(size of the cluster).
//   - Synced(kind) is false until the kind's source has delivered its complete
//     first list. Nothing may be removed from the kernel, or answered with
//     "does not exist", on the word of a snapshot that is not synced.
//   - A Watch never loses a change: what it has not handed out yet accumulates,
//     each key once, and belongs to the snapshot it hands out or to an older one.
package state
