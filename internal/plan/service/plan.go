package service

import (
	"github.com/fairway-net/fairway/internal/state"
)

// Keys returns the keys whose Plan may differ after change, in snap, which
// already contains it.
func Keys(change state.Change, snap *state.Snapshot, p Params) []Key { return nil }

// All returns every key that has a Plan in snap.
func All(snap *state.Snapshot, p Params) []Key { return nil }

// For plans key. A Service that is not there has a Plan without Ports.
func For(snap *state.Snapshot, p Params, key Key) Plan { return Plan{Key: key} }
