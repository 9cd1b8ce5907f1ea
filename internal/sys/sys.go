// Package sys knows facts of the kernel and of this process's place in it:
// where the node's cgroup is, whether a directory is a bpffs, which network
// namespace a thread is in. It changes nothing but the thread's namespace, and
// that only for the time of a callback.
package sys

import "errors"

// NodeCgroup returns the cgroup2 directory under which all processes of this
// node run: the parent of kubepods on the way to our own cgroup, or the root of
// the hierarchy.
func NodeCgroup() (string, error) { return "", errors.New("not implemented yet") }
