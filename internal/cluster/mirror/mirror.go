// Package mirror is the registry of one node of the embedded cluster: it serves
// to the node's containerd what that containerd has already, so that an image
// which was loaded can also be "pulled". Kubernetes pulls whatever is tagged
// latest, or not at all, each time a container starts.
//
// It speaks the reading half of the OCI distribution spec
// (https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md).
// It is not a cache: it never asks anybody outside the node, stores nothing
// and has no tag of its own.
//
// Invariants: what it does not have is 404 at once, and containerd then goes on
// to the real registry; a blob is named by its digest alone, never by a path
// of the request's.
package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Refusal is the path below which a second registry is served, for clusters
// that cannot reach any other: it has no image, and says what to do.
const Refusal = "/no-egress"

// Server is the registry. Its fields may not change while it serves.
type Server struct {
	Images  Images // which names there are
	Content string // root of containerd's content store
	// Loaded, if set, limits the names to those below Builtin and those whose
	// digest LoadedFile says was loaded: a cluster that reaches real registries
	// must ask them again for what it pulled from there.
	Loaded  string
	Builtin string // "example.com/"
	Cluster string // its name, for what the refusal tells the user to do
	Log     *slog.Logger
}

// Images says which images there are.
type Images interface {
	// Get returns the descriptor of an image; ErrNotFound if there is none.
	Get(ctx context.Context, name string) (Descriptor, error)
}

// Descriptor names content, like the OCI image spec's.
type Descriptor struct {
	MediaType string
	Digest    string
}

// ErrNotFound says that there is no image of that name.
var ErrNotFound = errors.New("no such image")

// LoadedFile is the file in dir whose existence says that an image with this
// digest was loaded.
func LoadedFile(dir, digest string) (string, error) {
	sum, ok := parseDigest(digest)
	if !ok {
		return "", fmt.Errorf("digest %q is not valid", digest)
	}
	return filepath.Join(dir, sum), nil
}

// request is what a path of the API asks for.
type request struct {
	method    string // GET or HEAD
	namespace string // the registry that containerd was to ask, if it said so
	name      string
	kind      string // "manifests" or "blobs"
	reference string // a tag or a digest
}

// image is the name by which containerd knows the image.
func (r request) image() string {
	out := r.name
	if r.namespace != "" {
		out = r.namespace + "/" + r.name
	}
	if strings.Contains(r.reference, ":") {
		return out + "@" + r.reference
	}
	return out + ":" + r.reference
}

// The grammar of the distribution spec, "Pulling manifests". The namespace is a
// host, perhaps with a port.
var (
	nameForm      = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm       = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestForm    = regexp.MustCompile(`^sha256:([a-f0-9]{64})$`)
	namespaceForm = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?$`)
)

func parseDigest(s string) (sum string, ok bool) {
	m := digestForm.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// parse reads a path of the API, without its leading "/v2/".
func parse(path, namespace string) (request, bool) {
	for _, kind := range []string{"manifests", "blobs"} {
		at := strings.LastIndex(path, "/"+kind+"/")
		if at < 0 {
			continue
		}
		r := request{namespace: namespace, name: path[:at], kind: kind, reference: path[at+len(kind)+2:]}
		_, digest := parseDigest(r.reference)
		ok := len(r.name) <= 255 && nameForm.MatchString(r.name) &&
			(digest || kind == "manifests" && tagForm.MatchString(r.reference)) &&
			(namespace == "" || namespaceForm.MatchString(namespace))
		return r, ok
	}
	return request{}, false
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only")
		return
	}
	path, refusal := strings.CutPrefix(r.URL.Path, Refusal+"/")
	if refusal {
		path = "/" + path
	}
	if path == "/v2/" || path == "/v2" {
		w.WriteHeader(http.StatusOK)
		return
	}
	path, versioned := strings.CutPrefix(path, "/v2/")
	req, ok := parse(path, r.URL.Query().Get("ns"))
	req.method = r.Method
	switch {
	case !versioned || !ok:
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no such path")
	case refusal:
		s.advise(w, req)
	case req.kind == "blobs":
		s.serve(w, r, Descriptor{Digest: req.reference, MediaType: "application/octet-stream"})
	default:
		s.manifest(w, r, req)
	}
}

// advise says that an image is not there and cannot come. containerd shows the
// reason phrase of the answer to HEAD, so it is where the advice is: the body,
// which it asks for after a 403 and appends, is on a second line, which
// `kubectl get events` does not show.
func (s *Server) advise(w http.ResponseWriter, req request) {
	reason := fmt.Sprintf("not loaded: run \"fairway image load --name %s FILE.tar\"", s.Cluster)
	body := errorBody("DENIED", fmt.Sprintf(
		"the cluster runs without egress and pulls nothing; a FILE.tar of %s is what \"docker save\" writes", req.image()))
	hijacker, ok := w.(http.Hijacker) // net/http itself knows no other reason than its own
	if !ok {
		refuse(w, http.StatusForbidden, "DENIED", reason)
		return
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		s.Log.Error("refuse image", "image", req.image(), "err", err)
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second)) // if it fails, so does the write
	fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		http.StatusForbidden, reason, len(body))
	if req.method != http.MethodHead {
		_, _ = conn.Write(body) // whoever asked may have gone
	}
}

// manifest serves a manifest by tag or digest.
func (s *Server) manifest(w http.ResponseWriter, r *http.Request, req request) {
	if _, ok := parseDigest(req.reference); ok {
		s.serve(w, r, Descriptor{Digest: req.reference})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	d, err := s.Images.Get(ctx, req.image())
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && !s.mayServe(req, d):
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "image "+req.image()+" is not loaded")
	case err != nil:
		s.Log.Error("look up image", "image", req.image(), "err", err)
		refuse(w, http.StatusServiceUnavailable, "UNKNOWN", "containerd does not answer: "+err.Error())
	default:
		s.serve(w, r, d)
	}
}

// mayServe applies Loaded.
func (s *Server) mayServe(req request, d Descriptor) bool {
	if s.Loaded == "" || s.Builtin != "" && strings.HasPrefix(req.image(), s.Builtin) {
		return true
	}
	file, err := LoadedFile(s.Loaded, d.Digest)
	if err != nil {
		return false
	}
	_, err = os.Stat(file)
	return err == nil
}

// serve writes content as it is in containerd's store; without a media type, it
// must be a manifest.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, d Descriptor) {
	unknown := func() { refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no content "+d.Digest) }
	sum, ok := parseDigest(d.Digest)
	if !ok {
		unknown()
		return
	}
	f, err := os.Open(filepath.Join(s.Content, "blobs", "sha256", sum))
	if err != nil {
		unknown()
		return
	}
	defer f.Close()
	if d.MediaType == "" {
		if d.MediaType = manifestType(f); d.MediaType == "" {
			unknown()
			return
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			unknown()
			return
		}
	}
	w.Header().Set("Content-Type", d.MediaType)
	w.Header().Set("Docker-Content-Digest", d.Digest)
	w.Header().Set("ETag", `"`+d.Digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// manifestType returns the media type of a manifest, "" if it is none. The field
// mediaType is optional in OCI's own formats
// (https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md).
func manifestType(r io.Reader) string {
	const limit = 4 << 20 // the spec's bound on the size of manifests
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := json.NewDecoder(io.LimitReader(r, limit)).Decode(&m); err != nil || m.SchemaVersion != 2 {
		return ""
	}
	switch {
	case m.Manifests != nil:
		return cmp.Or(m.MediaType, "application/vnd.oci.image.index.v1+json")
	case m.Config != nil:
		return cmp.Or(m.MediaType, "application/vnd.oci.image.manifest.v1+json")
	}
	return ""
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(errorBody(code, message)) // whoever asked may have gone
}

// errorBody is an error in the form of the spec, "Error Codes".
func errorBody(code, message string) []byte {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]entry{"errors": {{code, message}}})
	if err != nil { // of strings: it cannot
		return nil
	}
	return body
}
