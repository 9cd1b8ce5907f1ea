// Package index holds the cluster's zone as packed records and answers
// questions from it.
//
// Reading takes no lock, and a change of one Service replaces the answers of
// that Service with one pointer, so a question sees either the old answers or
// the new ones. There is one entry per Service rather than one per name: the
// names below a Service are found inside its entry, and "exists but has no such
// record" (NODATA) and "does not exist" (NXDOMAIN, RFC 8020) follow from the
// shape of the names and need no entries of their own.
//
// It plans nothing (package plan/zone does) and does no I/O.
package index
