// Command pause is the process of a pod's sandbox: it keeps the pod's
// namespaces alive and does nothing else.
//
// It reaps orphans, because with shareProcessNamespace it is the pod's init,
// and ends on SIGTERM, because an init has no default signal actions.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// SIGCHLD ignored: the kernel reaps (wait(2), "SIG_IGN").
	signal.Ignore(syscall.SIGCHLD)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
