// Package explain says what becomes of a packet, from the plans alone: which
// backends it may get, under which source, or why it is refused or dropped.
//
// It is the datapath once more, in a form that is to be read and not to be fast;
// the tests of apply/bpf ask it and the kernel's programs the same questions.
// The package is pure and imports nothing but plans and the vocabulary.
// It knows first packets: what belongs to a flow that is there follows it.
package explain
