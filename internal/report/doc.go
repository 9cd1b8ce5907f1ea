// Package report puts side by side what is planned for Services and what is in
// the kernels of the nodes: the content of `fairway services`.
//
// It is pure. The plans and their reasons come from plan/service, the kernels'
// side from the agents, in the form that they serve it (Node). It decides
// nothing but how to say it, to a person or as JSON.
package report
