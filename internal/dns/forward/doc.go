// Package forward asks upstream servers for names that are not the cluster's,
// and remembers their answers for as long as they may be used.
//
// It never sees a name of the zone. Invariants: an answer is taken only from
// the server, port, ID and question that were asked; one question (name, type,
// DO, CD) is asked upstream once at a time however many clients wait, which also
// makes a forwarding loop end in one timeout rather than in a storm; the number
// of questions under way and the size of the cache are bounded.
package forward
