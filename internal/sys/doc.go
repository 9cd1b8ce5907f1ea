// Package sys knows facts of the kernel and of this process's place in it:
// where the node's cgroup is, whether a directory is a bpffs, which network
// namespaces there are. It changes nothing.
package sys
