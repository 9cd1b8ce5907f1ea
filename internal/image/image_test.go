package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// read returns the files of a tar archive, by name, and their headers.
func read(t *testing.T, data []byte) (map[string][]byte, map[string]*tar.Header) {
	t.Helper()
	files, headers := map[string][]byte{}, map[string]*tar.Header{}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name], headers[h.Name] = content, h
	}
}

func archiveOf(t *testing.T, images ...Image) []byte {
	t.Helper()
	var b bytes.Buffer
	digests, err := Write(&b, images...)
	if err != nil || len(digests) != len(images) {
		t.Fatalf("%d images: digests %v, %v", len(images), digests, err)
	}
	return b.Bytes()
}

// program writes an executable for an image to hold.
func program(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrite(t *testing.T) {
	src := program(t, "\x7fELF and so on")
	img := Image{Name: "fairway.dev/x:v1", Entrypoint: []string{"/usr/bin/x"}, Env: []string{"A=b"}, Files: []File{
		{Path: "/usr/bin/x", Source: src}, {Path: "/y", Link: "/usr/bin/x"},
	}}
	other := img
	other.Name = "fairway.dev/x:v2"
	files, _ := read(t, archiveOf(t, img, other))

	// Every blob has the digest that it is called by.
	for name, data := range files {
		if digest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
				t.Errorf("%s has another digest", name)
			}
		}
	}
	// index → manifest → config and layer.
	var index struct{ Manifests []descriptor }
	decode(t, files["index.json"], &index)
	if len(index.Manifests) != 2 || index.Manifests[0].Annotations["io.containerd.image.name"] != img.Name || index.Manifests[1].Annotations["org.opencontainers.image.ref.name"] != "v2" {
		t.Fatalf("index: %+v", index)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	decode(t, blob(t, files, index.Manifests[0]), &manifest)
	var config struct {
		Config struct{ Entrypoint, Env []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	decode(t, blob(t, files, manifest.Config), &config)
	if len(manifest.Layers) != 1 || config.RootFS.DiffIDs[0] != manifest.Layers[0].Digest {
		t.Errorf("an uncompressed layer's digest is its diff ID: %+v, %+v", manifest, config)
	}
	if config.Config.Entrypoint[0] != "/usr/bin/x" || config.Config.Env[0] != "A=b" {
		t.Errorf("config: %+v", config)
	}

	layer, headers := read(t, blob(t, files, manifest.Layers[0]))
	if string(layer["usr/bin/x"]) != "\x7fELF and so on" || headers["usr/bin/x"].Mode != 0o755 || headers["usr/bin/x"].Uid != 0 {
		t.Errorf("file: %q, %+v", layer["usr/bin/x"], headers["usr/bin/x"])
	}
	if h := headers["y"]; h == nil || h.Typeflag != tar.TypeLink || h.Linkname != "usr/bin/x" {
		t.Errorf("link: %+v", h)
	}
	for _, dir := range []string{"usr/", "usr/bin/", "tmp/"} {
		if h := headers[dir]; h == nil || h.Typeflag != tar.TypeDir {
			t.Errorf("directory %s: %+v", dir, h)
		}
	}
}

// TestWriteIsDeterministic: neither the clock nor the files' times matter.
func TestWriteIsDeterministic(t *testing.T) {
	src := program(t, "x")
	img := Image{Name: "fairway.dev/x:v1", Entrypoint: []string{"/x"}, Files: []File{{Path: "/x", Source: src}}}
	first := archiveOf(t, img)
	if err := os.Chtimes(src, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, archiveOf(t, img)) {
		t.Error("two archives of the same files differ")
	}
}

func TestWriteMissingFile(t *testing.T) {
	_, err := Write(io.Discard, Image{Name: "fairway.dev/x:v1", Files: []File{{Path: "/x", Source: "/does/not/exist"}}})
	if err == nil || !strings.Contains(err.Error(), "fairway.dev/x:v1") {
		t.Errorf("error %v, want one that names the image", err)
	}
}

func blob(t *testing.T, files map[string][]byte, d descriptor) []byte {
	t.Helper()
	data, ok := files["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
	if !ok || int64(len(data)) != d.Size {
		t.Fatalf("blob %s: %d bytes, want %d", d.Digest, len(data), d.Size)
	}
	return data
}

func decode(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}
