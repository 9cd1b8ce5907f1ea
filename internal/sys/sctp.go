package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// HasSCTP reports whether the kernel has sockets of SCTP (CONFIG_IP_SCTP); it
// loads them if they are a module.
func HasSCTP() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err == nil {
		unix.Close(fd)
	}
	return !errors.Is(err, unix.EPROTONOSUPPORT)
}
