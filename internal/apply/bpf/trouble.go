package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Trouble is an error that a person has to mend: what and how.
type Trouble struct {
	Reason string // CamelCase, stable, out of a small set
	Err    error
	Fix    string
}

func (t Trouble) Error() string { return t.Err.Error() }
func (t Trouble) Unwrap() error { return t.Err }

// CheckReasons are those of Check.
var CheckReasons = []string{reasonUplink, reasonSockets}

const (
	reasonUplink  = "UplinkMissing"
	reasonSockets = "SocketHooksMissing"
)

// refused says why the kernel may not have taken the programs.
func refused(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return Trouble{"VerifierRefused", fmt.Errorf("load programs: %w", err), "this kernel does not take these programs: go back to the version of Fairway before, whose programs go on working, and report the log"}
	case errors.Is(err, unix.EPERM):
		return Trouble{"NotPermitted", fmt.Errorf("load programs: %w", err), "run the agent privileged, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"}
	case errors.Is(err, ebpf.ErrMapIncompatible):
		return Trouble{"MapsOfAnotherForm", fmt.Errorf("load programs: %w", err), "another build of Fairway has left maps of the same layout: go back to it, or restart the node, which empties the bpffs"}
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.E2BIG):
		return Trouble{"NoMemory", fmt.Errorf("load programs: %w", err), "the node has no memory left for the kernel's maps: free some"}
	case errors.Is(err, ebpf.ErrNotSupported):
		return Trouble{"KernelLacks", fmt.Errorf("load programs: %w", err), "use Linux 6.6 or newer with BTF; \"fairway doctor\" says what is missing"}
	}
	return fmt.Errorf("load programs: %w", err)
}
