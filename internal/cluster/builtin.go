package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fairway-net/fairway/deploy"
	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/image"
)

const (
	registry   = "fairway.dev/"
	pauseImage = registry + "pause:latest"
	echoImage  = registry + "echo:latest"
)

// findTools returns the directory of the running executable, which must hold
// the other programs too, as `make build` leaves them.
func findTools() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", err
	}
	dir := filepath.Dir(exe)
	for _, name := range []string{"fairway", kubeTool, "containerd-shim-runc-v2", "pause", "echo", "fairway-cni"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", cli.Hint(fmt.Errorf("find %s: %w", name, err), "run \"make build\", and start the fairway that it puts into bin/")
		}
	}
	return dir, nil
}

func (s *State) builtinFile() string { return filepath.Join(s.images(), "builtin.tar") }
func (s *State) digestFile() string  { return filepath.Join(s.images(), "digest") }

// writeBuiltin writes the archive of the images that every node has from the
// start, all made of our own executables, and returns the digest of Fairway's.
// An archive that is newer than all of them is kept.
func (s *State) writeBuiltin(tools string) (digest string, err error) {
	exe := filepath.Join(tools, "fairway")
	echo, pause, cni := filepath.Join(tools, "echo"), filepath.Join(tools, "pause"), filepath.Join(tools, "fairway-cni")
	if fresh(s.digestFile(), exe, echo, pause, cni) && fresh(s.builtinFile(), exe, echo, pause, cni) {
		data, err := os.ReadFile(s.digestFile())
		return string(data), err
	}
	if err := os.MkdirAll(s.images(), 0o755); err != nil {
		return "", err
	}
	fairway, err := fairwayImage(deploy.Manifest)
	if err != nil {
		return "", err
	}
	f, err := os.Create(s.builtinFile() + ".tmp")
	if err != nil {
		return "", err
	}
	defer f.Close()
	digests, err := image.Write(f,
		image.Image{Name: fairway, Entrypoint: []string{"/fairway"}, Files: []image.File{
			{Path: "/fairway", Source: exe},
			{Path: "/fairway-cni", Source: cni},
		}},
		image.Image{Name: echoImage, Entrypoint: []string{"/echo"}, Files: []image.File{{Path: "/echo", Source: echo}}},
		image.Image{Name: pauseImage, Entrypoint: []string{"/pause"}, Files: []image.File{{Path: "/pause", Source: pause}}},
	)
	if err != nil {
		return "", err
	}
	if err := os.Rename(f.Name(), s.builtinFile()); err != nil {
		return "", err
	}
	return digests[0], replaceFile(s.digestFile(), []byte(digests[0]), 0o644)
}

// fresh reports whether file was written after all of its sources.
func fresh(file string, sources ...string) bool {
	modified := func(path string) (time.Time, error) {
		info, err := os.Stat(path)
		if err != nil {
			return time.Time{}, err
		}
		return info.ModTime(), nil
	}
	made, err := modified(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for _, source := range sources {
		t, err := modified(source)
		if err != nil || !t.Before(made) {
			return false
		}
	}
	return true
}
