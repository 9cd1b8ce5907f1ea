package proxy

// reviseResponse changes the response of an endpoint, whose head is in c.response,
// before it is passed on. If it returns true it has answered in its place, through
// the exchange's writer, and the endpoint's response is dropped.
func (c *call) reviseResponse() bool { return false }
