package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fairway-net/fairway/internal/cni"
)

// Plugin is what the agent gives to the container runtime of its node.
type Plugin struct {
	Program   string // the plugin's executable, in our own image
	BinDir    string // where the runtime looks for plugins
	ConfigDir string // where the runtime looks for configurations; the first by name counts
}

const (
	pluginName = "fairway-cni"
	configName = "05-fairway.conflist"
)

// Install puts the program and then the configuration into place, each by a
// rename, so that the runtime never sees half of one. It does so again at each
// start: the program belongs to our version.
func (p Plugin) Install() error {
	program, err := os.ReadFile(p.Program)
	if err != nil {
		return fmt.Errorf("read CNI plugin: %w", err)
	}
	if err := place(filepath.Join(p.BinDir, pluginName), program, 0o755); err != nil {
		return fmt.Errorf("install CNI plugin: %w", err)
	}
	// containerd executes a plugin of this name for every pod unless it is told
	// otherwise; an existing one is as good as ours.
	err = os.Symlink(pluginName, filepath.Join(p.BinDir, cni.LoopbackType))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("install loopback plugin: %w", err)
	}
	config, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0", // understood by every runtime; results do not differ in 1.1.0
		"name":       "fairway",
		"plugins":    []any{map[string]any{"type": pluginName, "capabilities": map[string]bool{"portMappings": true}}},
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode CNI configuration: %w", err)
	}
	if err := place(filepath.Join(p.ConfigDir, configName), append(config, '\n'), 0o644); err != nil {
		return fmt.Errorf("install CNI configuration: %w", err)
	}
	return nil
}

// place makes path have content, atomically, and does not touch it if it has.
func place(path string, content []byte, mode fs.FileMode) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".fairway-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing left to remove after the rename
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
