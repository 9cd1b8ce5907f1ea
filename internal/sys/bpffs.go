package sys

import "golang.org/x/sys/unix"

// IsBPFFS reports whether dir is on a bpffs, where maps and links can be pinned.
func IsBPFFS(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.BPF_FS_MAGIC
}
