package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// shadowed are machine-wide kernel settings that kubelet insists on
// (k8s.io/kubernetes/pkg/kubelet/cm, setupKernelTunables). The node sees files
// with the values it wants in their place, so that the machine keeps its own.
var shadowed = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// enterRoot makes the node's file system and makes it the process's root. The
// process must be the first of fresh mount, PID and network namespaces.
//
// The steps, in order: cut propagation to the machine; the root directory,
// with the machine's programs and devices in it; own /proc, /sys and /run;
// pivot; share everything inside, which kubelet needs for mounts that
// containers make.
func (s *Spec) enterRoot() error {
	steps := []struct {
		what string
		do   func() error
	}{
		{"cut mount propagation", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"bind root", func() error { return unix.Mount(s.Root, s.Root, "", unix.MS_BIND, "") }},
		{"bind programs", s.bindPrograms},
		{"bind devices", func() error { return s.bind("/dev", "/dev", unix.MS_REC) }},
		{"mount kernel file systems", s.mountKernel},
		{"mount runtime directory", s.mountRun},
		{"pivot root", s.pivot},
		{"share mounts", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") }},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// bindPrograms shows the machine's programs and libraries, and our own, read-only.
func (s *Spec) bindPrograms() error {
	for _, dir := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		info, err := os.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink != 0: // merged /usr
			if err := s.copyLink(dir); err != nil {
				return err
			}
		default:
			if err := s.bindReadOnly(dir, dir); err != nil {
				return err
			}
		}
	}
	for _, dir := range []string{"/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/etc/alternatives"} {
		if _, err := os.Stat(dir); err == nil {
			if err := s.bindReadOnly(dir, dir); err != nil {
				return err
			}
		}
	}
	if err := s.bindReadOnly(s.Tools, ToolDir); err != nil {
		return err
	}
	return s.bindReadOnly(s.Images, ImageDir)
}

func (s *Spec) copyLink(path string) error {
	target, err := os.Readlink(path)
	if err != nil {
		return err
	}
	err = os.Symlink(target, filepath.Join(s.Root, path))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (s *Spec) bindReadOnly(from, to string) error {
	if err := s.bind(from, to, unix.MS_REC); err != nil {
		return err
	}
	to = filepath.Join(s.Root, to)
	var st unix.Statfs_t
	if err := unix.Statfs(to, &st); err != nil {
		return err
	}
	// A remount must repeat the flags that the mount was made with.
	keep := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME)
	return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|keep, "")
}

func (s *Spec) bind(from, to string, flags uintptr) error {
	to = filepath.Join(s.Root, to)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("bind %s: %w", from, err)
	}
	return nil
}

// mountKernel mounts /proc of the node's PID namespace and /sys of its network
// namespace, and puts the machine's cgroup hierarchies back onto the latter.
func (s *Spec) mountKernel() error {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := s.mount("proc", "/proc", safe, ""); err != nil {
		return err
	}
	if err := s.mount("sysfs", "/sys", safe, ""); err != nil {
		return err
	}
	if err := s.bind("/sys/fs/cgroup", "/sys/fs/cgroup", unix.MS_REC); err != nil {
		return err
	}
	if err := s.mount("bpf", "/sys/fs/bpf", safe, "mode=0700"); err != nil {
		return err
	}
	for name, value := range shadowed {
		file := filepath.Join(s.Root, "/var/lib/fairway/sysctl", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		err := unix.Mount(file, filepath.Join(s.Root, "/proc/sys", name), "", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("shadow sysctl %s: %w", name, err)
		}
	}
	return nil
}

func (s *Spec) mount(fstype, dir string, flags uintptr, options string) error {
	dir = filepath.Join(s.Root, dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(fstype, dir, fstype, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", fstype, err)
	}
	return nil
}

// mountRun gives the node an empty /run, as after a boot.
func (s *Spec) mountRun() error {
	if err := s.mount("tmpfs", "/run", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.Root, "/run/netns"), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.Root, "/var"), 0o755); err != nil {
		return err
	}
	err := os.Symlink("../run", filepath.Join(s.Root, "/var/run"))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// pivot makes Root the root and lets go of the machine's.
func (s *Spec) pivot() error {
	if err := unix.Chdir(s.Root); err != nil {
		return err
	}
	// Old and new root may be the same directory: the old one is then
	// stacked on top and taken away (pivot_root(2), "NOTES").
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}
