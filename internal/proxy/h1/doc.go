// Package h1 reads and writes HTTP/1.1 messages (RFC 9112) over buffers that are
// used again: a head is parsed where it lies, and its fields point into the buffer.
//
// It is strict where two readers could differ: what it accepts has one meaning. It
// knows nothing of routes, of retries or of who may ask; it does not dial, and
// it starts no goroutine. It is not a client or server library: names are not
// changed, and nothing is decoded but the framing.
//
// The files: field (names and values), request and response (heads), body
// (lengths, chunks and trailers), build (what is sent), conn (buffers and times).
package h1
