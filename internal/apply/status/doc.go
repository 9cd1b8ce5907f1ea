// Package status is the applier of everything that Fairway writes to the API:
// the addresses in the status of Services and Ingresses, and the Events that
// tell a person what is wrong with an object.
//
// Only the controller role uses it, under a Lease (Lead), so that there is one
// writer. Writing is level-triggered: have is what the snapshot shows, want is
// the plan, and equal means no request.
package status
