package kubeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

func owner(info fs.FileInfo) (uid, gid int) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return -1, -1
}

// Target is the user's file and who should own it.
type Target struct {
	Path     string
	UID, GID int
}

// Locate finds the file that the invoking user's kubectl reads first:
// $KUBECONFIG, or ~/.kube/config of the user who called sudo.
func Locate(getenv func(string) string) (Target, error) {
	t := Target{UID: -1, GID: -1}
	home := getenv("HOME")
	if name := getenv("SUDO_USER"); name != "" && name != "root" {
		u, err := user.Lookup(name)
		if err != nil {
			return t, fmt.Errorf("find home of %s: %w", name, err)
		}
		home = u.HomeDir
		t.UID, _ = strconv.Atoi(u.Uid)
		t.GID, _ = strconv.Atoi(u.Gid)
	}
	if list := filepath.SplitList(getenv("KUBECONFIG")); len(list) > 0 && list[0] != "" {
		t.Path = list[0]
		return t, nil
	}
	if home == "" {
		return t, errors.New("find kubeconfig: neither KUBECONFIG nor HOME is set")
	}
	t.Path = filepath.Join(home, ".kube", "config")
	return t, nil
}
