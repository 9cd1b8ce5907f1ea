// Package agent wires the roles of Fairway (agent, dns, gateway, controller):
// one function per role that reads from top to bottom, from the sources of its
// state over its plans to what it applies them to. It decides nothing itself.
package agent
