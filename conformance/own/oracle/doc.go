// Package oracle holds a test only: Fairway's planner of Services against
// kube-proxy's, on the same Services, EndpointSlices and nodes.
package oracle
