// Package image writes container images without a container tool: an image is
// one layer of a few files, and an archive is an OCI image layout in a tar
// file (https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md),
// which every container runtime imports.
//
// It does not read, pull or push images.
//
// Invariant: the same files make the same archive, byte for byte, so a digest
// says whether an import is needed.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

// Image is what to write.
type Image struct {
	Name       string // with registry and tag: fairway.dev/echo:latest
	Files      []File
	Entrypoint []string
	Cmd        []string // arguments where the pod gives none
	Env        []string // NAME=value
}

// File is one file of an image's layer: exactly one of Source and Link.
type File struct {
	Path   string // absolute, in the image
	Source string // file of this machine whose content it has; it becomes 0755 root:root
	Link   string // absolute path in the image that it is a hard link to; list that first
}

// descriptor is the OCI content descriptor.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	// Layers stay uncompressed: they are read once, from the page cache.
	typeLayer = "application/vnd.oci.image.layer.v1.tar"
)

// Write writes an archive of the images to w and returns the digest of each.
func Write(w io.Writer, images ...Image) (digests []string, err error) {
	tw := tar.NewWriter(w)
	a := archive{tw: tw, done: map[string]bool{}}
	var index struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	index.SchemaVersion, index.MediaType = 2, typeIndex
	for _, img := range images {
		d, err := a.image(img)
		if err != nil {
			return nil, fmt.Errorf("write image %s: %w", img.Name, err)
		}
		index.Manifests = append(index.Manifests, d)
		digests = append(digests, d.Digest)
	}
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return nil, err
	}
	data, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	if err := a.file("index.json", data); err != nil {
		return nil, err
	}
	return digests, tw.Close()
}

// archive is a layout being written.
type archive struct {
	tw   *tar.Writer
	done map[string]bool // digests of the blobs written
}

// image writes the blobs of one image and returns its manifest's descriptor.
func (a *archive) image(img Image) (descriptor, error) {
	layer, err := a.layer(img.Files)
	if err != nil {
		return descriptor{}, err
	}
	arch := platform{runtime.GOARCH, "linux"}
	config, err := a.json(typeConfig, map[string]any{
		"architecture": arch.Architecture,
		"os":           arch.OS,
		"config":       map[string]any{"Entrypoint": img.Entrypoint, "Cmd": img.Cmd, "Env": img.Env, "WorkingDir": "/"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{layer.Digest}},
	})
	if err != nil {
		return descriptor{}, err
	}
	manifest, err := a.json(typeManifest, map[string]any{
		"schemaVersion": 2,
		"mediaType":     typeManifest,
		"config":        config,
		"layers":        []descriptor{layer},
	})
	if err != nil {
		return descriptor{}, err
	}
	manifest.Platform = &arch
	// The full name is containerd's annotation; the tag is the standard's.
	_, tag, _ := strings.Cut(path.Base(img.Name), ":")
	manifest.Annotations = map[string]string{"io.containerd.image.name": img.Name, "org.opencontainers.image.ref.name": tag}
	return manifest, nil
}

func (a *archive) json(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(data)
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(data))}
	return d, a.blob(d, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// layer writes the files as one layer. It makes the layer's tar twice: once to
// learn the digest, which the archive names before the content, and once to
// write it. That is cheaper than keeping it.
func (a *archive) layer(files []File) (descriptor, error) {
	sum := sha256.New()
	count := &counter{w: sum}
	if err := writeLayer(count, files); err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: typeLayer, Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), Size: count.n}
	return d, a.blob(d, func(w io.Writer) error { return writeLayer(w, files) })
}

func (a *archive) blob(d descriptor, write func(io.Writer) error) error {
	if a.done[d.Digest] {
		return nil
	}
	a.done[d.Digest] = true
	name := "blobs/" + strings.Replace(d.Digest, ":", "/", 1)
	if err := a.tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: d.Size, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	return write(a.tw)
}

func (a *archive) file(name string, data []byte) error {
	if err := a.tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err := io.Copy(a.tw, bytes.NewReader(data))
	return err
}

// writeLayer writes the tar of a layer: the files, and before them the
// directories they are in and a /tmp for everyone.
func writeLayer(w io.Writer, files []File) error {
	tw := tar.NewWriter(w)
	for _, dir := range directories(files) {
		mode := int64(0o755)
		if dir == "tmp" {
			mode = 0o1777
		}
		if err := tw.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: mode, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := writeFile(tw, f); err != nil {
			return err
		}
	}
	return tw.Close()
}

func writeFile(tw *tar.Writer, f File) error {
	name := strings.TrimPrefix(f.Path, "/")
	if f.Link != "" {
		return tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: strings.TrimPrefix(f.Link, "/"), Mode: 0o755, Format: tar.FormatUSTAR})
	}
	src, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: info.Size(), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err = io.Copy(tw, src)
	return err
}

// directories lists the parents of all files, parents first.
func directories(files []File) []string {
	set := map[string]bool{"tmp": true}
	for _, f := range files {
		for dir := path.Dir(strings.TrimPrefix(f.Path, "/")); dir != "."; dir = path.Dir(dir) {
			set[dir] = true
		}
	}
	var out []string
	for dir := range set {
		out = append(out, dir)
	}
	slices.Sort(out)
	return out
}

// counter counts what passes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
