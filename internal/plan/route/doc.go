// Package route plans what a gateway serves: for each host the rules that
// requests are matched with, the backends behind them, and the certificates.
//
// It is pure: no clock, no I/O, no log. It opens no socket (package proxy does)
// and writes no status (the controller does, from Plan.Claimed and
// Plan.Rejected). The same Plan answers `fairway explain`. Invariants:
//
//   - A Plan and all that it points to never change. What a change did not
//     touch keeps its pointer from one Plan of a Planner to the next, so that
//     the identity of a *Host or *Backend says "unchanged".
//   - Rules name backends by (Service, port as written) and never hold
//     addresses. A change of endpoints replaces one Backend and no Host; a
//     Service that is missing, or has not got the port, is a Backend with a
//     Problem.
//   - Whatever cannot be done as written is in Plan.Rejected, and all else
//     works as if the mistake were not there.
//   - A Planner's Plan depends on the snapshot alone, not on the way there.
package route
