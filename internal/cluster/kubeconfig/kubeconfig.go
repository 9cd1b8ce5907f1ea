// Package kubeconfig writes kubectl's configuration for one cluster and merges
// it into, or removes it from, the file that the user already has.
//
// It keeps what it does not understand: the user's file is treated as a tree of
// plain values, not as the types of one client version. Comments are lost, as
// they are with kubectl's own "config" commands.
//
// Invariant: a file is replaced whole, while holding the same lock file that
// kubectl takes (k8s.io/client-go/tools/clientcmd: NAME.lock, O_EXCL).
package kubeconfig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"
)

// Access is how to reach one cluster as one user.
type Access struct {
	Context string // the name of context, cluster and user alike
	Server  string // https://address:port
	CA      []byte // PEM
	Cert    []byte // PEM
	Key     []byte // PEM
}

// Render returns a complete file with a single context.
func Render(a Access) ([]byte, error) {
	file := map[string]any{}
	if err := merge(file, a); err != nil {
		return nil, err
	}
	return yaml.Marshal(file)
}

// Merge adds the access to the file at path, or replaces what bears its name,
// and makes it the current context. A missing file is made, owned by uid and
// gid (-1: by the caller).
func Merge(path string, a Access, uid, gid int) error {
	return change(path, uid, gid, true, func(file map[string]any) (bool, error) {
		return true, merge(file, a)
	})
}

// Remove takes the context, cluster and user of that name out of the file at
// path, and reports whether there was one.
func Remove(path, context string) (bool, error) {
	removed := false
	err := change(path, -1, -1, false, func(file map[string]any) (bool, error) {
		var err error
		removed, err = remove(file, context)
		return removed, err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return removed, err
}

func merge(file map[string]any, a Access) error {
	for key, value := range map[string]string{"apiVersion": "v1", "kind": "Config"} {
		if _, ok := file[key]; !ok {
			file[key] = value
		}
	}
	b64 := base64.StdEncoding.EncodeToString
	entries := map[string]map[string]any{
		"clusters": {"cluster": map[string]any{"server": a.Server, "certificate-authority-data": b64(a.CA)}},
		"users":    {"user": map[string]any{"client-certificate-data": b64(a.Cert), "client-key-data": b64(a.Key)}},
		"contexts": {"context": map[string]any{"cluster": a.Context, "user": a.Context}},
	}
	for list, entry := range entries {
		rest, _, err := without(file, list, a.Context)
		if err != nil {
			return err
		}
		entry["name"] = a.Context
		file[list] = append(rest, entry)
	}
	file["current-context"] = a.Context
	return nil
}

func remove(file map[string]any, context string) (bool, error) {
	removed := false
	for _, list := range []string{"clusters", "users", "contexts"} {
		rest, found, err := without(file, list, context)
		if err != nil {
			return false, err
		}
		if found {
			file[list] = rest
			removed = true
		}
	}
	if file["current-context"] == context {
		file["current-context"] = ""
		removed = true
	}
	return removed, nil
}

// without returns the named list of the file less the entry of that name.
func without(file map[string]any, list, name string) (rest []any, found bool, err error) {
	rest = []any{}
	if file[list] == nil {
		return rest, false, nil
	}
	entries, ok := file[list].([]any)
	if !ok {
		return nil, false, fmt.Errorf("read kubeconfig: %s is not a list", list)
	}
	for _, e := range entries {
		if m, ok := e.(map[string]any); ok && m["name"] == name {
			found = true
			continue
		}
		rest = append(rest, e)
	}
	return rest, found, nil
}

// change applies f to the file at path under its lock, and writes the file
// back when f says so.
func change(path string, uid, gid int, create bool, f func(map[string]any) (bool, error)) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // replace the file, not the link to it
	}
	if create {
		if err := makeDir(filepath.Dir(path), uid, gid); err != nil {
			return err
		}
	} else if _, err := os.Stat(path); err != nil {
		return err
	}
	unlock, err := lock(path)
	if err != nil {
		return err
	}
	defer unlock()

	file := map[string]any{}
	data, err := os.ReadFile(path)
	mode := fs.FileMode(0o600)
	switch {
	case err == nil:
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		mode = info.Mode().Perm()
		uid, gid = owner(info)
		if err := yaml.Unmarshal(data, &file); err != nil {
			return fmt.Errorf("read kubeconfig %s: %w", path, err)
		}
		if file == nil {
			file = map[string]any{}
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	write, err := f(file)
	if err != nil || !write {
		return err
	}
	out, err := yaml.Marshal(file)
	if err != nil {
		return err
	}
	return replace(path, out, mode, uid, gid)
}

// replace writes the file beside its final place and renames it.
func replace(path string, data []byte, mode fs.FileMode, uid, gid int) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".kubeconfig-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // no longer there after the rename
	defer tmp.Close()
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	if err := tmp.Chown(uid, gid); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func makeDir(dir string, uid, gid int) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}

// lock waits up to five seconds for kubectl's lock on the file.
func lock(path string) (unlock func(), err error) {
	name := path + ".lock"
	deadline := time.Now().Add(5 * time.Second)
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			f.Close()
			return func() { os.Remove(name) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("lock kubeconfig: %s exists; remove it if no kubectl is running", name)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
