// Package model is Fairway's vocabulary: the plain values that sources
// produce, the state keeps and planners read.
//
// Values are immutable once they are in a snapshot; nobody may change one that
// it was handed. They hold only what Fairway uses of an API object, so that a
// cluster of 50,000 endpoints stays small in memory. No Kubernetes types, no
// behaviour beyond naming and formatting: the package imports nothing of ours.
package model
