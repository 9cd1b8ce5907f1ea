package route

// Stream is a port whose connections, or datagrams, are passed on as they are. Its
// Backend is among those of the plan.
type Stream struct {
	Port    uint16
	UDP     bool
	Backend BackendKey
	// ReadProxy says that connections begin with a header of the PROXY protocol;
	// SendProxy, 1 or 2, which version of it endpoints get. 0: none.
	ReadProxy bool
	SendProxy int
}
