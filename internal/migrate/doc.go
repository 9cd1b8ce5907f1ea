// Package migrate tells what becomes of Ingresses that were written for another
// controller: what works as it is, what differs, and what is not supported, with
// the replacement. It asks the planner that the gateway serves, so that it cannot
// say anything else than what will happen. It changes nothing.
package migrate
