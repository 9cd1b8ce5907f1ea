package sys

import "testing"

func TestNodeCgroup(t *testing.T) {
	const (
		unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
		hybrid  = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		part    = "31 24 0:27 /fairway/c/node1 /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		bound   = "29 24 0:27 /kubepods/pod1 /x rw - cgroup2 cgroup2 rw\n" + unified
	)
	for _, c := range []struct{ name, self, mounts, want string }{
		{"a machine", "0::/kubepods/besteffort/pod1/c1\n", unified, "/sys/fs/cgroup"},
		{"a machine with systemd", "0::/kubelet.slice/kubelet-kubepods.slice/pod1.slice/c1.scope\n", unified, "/sys/fs/cgroup"},
		{"systemd's driver", "0::/kubepods.slice/kubepods-pod1.slice/c1.scope\n", unified, "/sys/fs/cgroup"},
		{"not in a pod", "0::/user.slice/session-1.scope\n", unified, "/sys/fs/cgroup"},
		{"a cgroup namespace of its own", "0::/\n", unified, "/sys/fs/cgroup"},
		{"a node in a container", "9:cpu:/other\n0::/fairway/c/node1/kubepods/pod1/c1\n", hybrid, "/sys/fs/cgroup/unified/fairway/c/node1"},
		{"a part of the hierarchy is mounted", "0::/fairway/c/node1/kubepods/pod1/c1\n", part, "/sys/fs/cgroup/unified"},
		{"two mounts, the whole one counts", "0::/kubepods/pod1/c1\n", bound, "/sys/fs/cgroup"},
	} {
		got, err := nodeCgroup(c.self, c.mounts)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	for _, c := range []struct{ self, mounts string }{{"9:cpu:/\n", hybrid}, {"0::/\n", "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"}} {
		if got, err := nodeCgroup(c.self, c.mounts); err == nil {
			t.Errorf("%q, %q: %q, want an error", c.self, c.mounts, got)
		}
	}
}
