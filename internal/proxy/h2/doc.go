// Package h2 speaks HTTP/2 (RFC 9113) over one connection, as server or as client,
// with the heads of package h1. It knows frames, streams, flow control and HPACK,
// and nothing of what a request means.
//
// One goroutine reads a connection (Conn.Serve); each stream is served by one, or
// by two if bodies move both ways at once. What they write is gathered, and written
// by a goroutine that exists only while there is something to write, so that the
// answers of many streams share a system call. Invariants:
//
//   - A head that HTTP/1.1 could not say is refused here, so that passing a request
//     on cannot make two of it.
//   - What a peer makes us keep is bounded: streams, the head under way, bodies by
//     their windows, what waits to be written. What a peer makes us do for nothing
//     (resets, pings, settings, empty frames) is limited by rate, and its excess
//     ends the connection with ENHANCE_YOUR_CALM.
//   - Conn.mu guards a connection's streams and its output; it is never held while
//     something is read or written.
package h2
