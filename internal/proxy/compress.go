package proxy

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// This file compresses responses, as nginx's gzip module and its brotli module do, with
// gzip_proxied any and gzip_vary on: what ingress-nginx writes for the option use-gzip.

// encoder compresses what is written to it. What was written before Flush can be read by
// the client after it.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// encoders are there to be used again, by coding and level: one holds up to a megabyte.
type encoders [2][12]sync.Pool

// The codings, by their index in encoders.
const (
	byGzip = iota
	byBrotli
)

var codingNames = [...]string{"gzip", "br"}

// brotliWindow is that of nginx's module: 512 KiB.
const brotliWindow = 19

func (e *encoders) take(coding, level int, to io.Writer) encoder {
	if enc, ok := e[coding][level].Get().(encoder); ok {
		enc.Reset(to)
		return enc
	}
	if coding == byBrotli {
		return brotli.NewWriterOptions(to, brotli.WriterOptions{Quality: level, LGWin: brotliWindow})
	}
	enc, _ := gzip.NewWriterLevel(to, level) // the level is one
	return enc
}

func (e *encoders) giveBack(coding, level int, enc encoder) {
	enc.Reset(io.Discard)
	e[coding][level].Put(enc)
}

// copy compresses all that there is to read.
func (e *encoders) copy(coding int, o *nginx.Compression, to io.Writer, from io.Reader) {
	level := levelOf(coding, o)
	enc := e.take(coding, level, to)
	if _, err := io.Copy(enc, from); err == nil {
		_ = enc.Close()
	}
	e.giveBack(coding, level, enc)
}

func levelOf(coding int, o *nginx.Compression) int {
	if coding == byBrotli {
		return o.Brotli.Level
	}
	return o.Gzip.Level
}

// compressor is a client that gets the body of a response compressed.
type compressor struct {
	downstream
	call          *call
	coding, level int
	enc           encoder
	out           bytes.Buffer
}

// compress compresses the response in c.response, if it is one to be compressed and
// the client likes it.
func (c *call) compress(o *nginx.Compression) {
	x, r := &c.exchange, &c.response
	if r.Bodiless && x.method != http.MethodHead || c.empty || r.Get("Content-Encoding") != "" {
		return
	}
	coding, vary := x.coding(o, r.Status, r.Get("Content-Type"), r.Length)
	h := x.writer.Header()
	if vary {
		h.Add("Vary", "Accept-Encoding")
	}
	if coding < 0 {
		return
	}
	h.Set("Content-Encoding", codingNames[coding])
	x.drop = append(x.drop, "Accept-Ranges")
	if tag := r.Get("ETag"); tag != "" {
		x.drop = append(x.drop, "ETag")
		if tag = weak(tag); tag != "" {
			h.Set("ETag", tag)
		}
	}
	c.coded = true
	if r.Bodiless {
		return
	}
	z := &compressor{downstream: c.down, call: c, coding: coding, level: levelOf(coding, o)}
	z.enc = c.server.encoders.take(z.coding, z.level, &z.out)
	c.down = z
}

// weak is the tag of what is the same but for its octets (RFC 9110, section 8.8.1).
func weak(tag string) string {
	switch {
	case strings.HasPrefix(tag, "W/"):
		return tag
	case strings.HasPrefix(tag, `"`):
		return "W/" + tag
	}
	return ""
}

// coding chooses how a response is compressed; -1: not at all. vary says that for others
// it would be.
func (x *exchange) coding(o *nginx.Compression, status int, contentType string, length int64) (coding int, vary bool) {
	if status != http.StatusOK && status != http.StatusForbidden && status != http.StatusNotFound {
		return -1, false
	}
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	br, gz := o.Brotli.Fits(mediaType, length), o.Gzip.Fits(mediaType, length)
	accept := x.fields.Get("Accept-Encoding")
	switch {
	case !br && !gz:
		return -1, false
	case x.proto == "HTTP/1.0" || accept == "":
	case br && accepts(accept, "br"):
		return byBrotli, true
	case gz && accepts(accept, "gzip") && (o.Disable == nil || !o.Disable.MatchString(x.fields.Get("User-Agent"))):
		return byGzip, true
	}
	return -1, true
}

// accepts reads Accept-Encoding (RFC 9110, section 12.5.3). As to nginx, * is not a coding.
func accepts(list, coding string) bool {
	for item := range strings.SplitSeq(list, ",") {
		name, weight, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.TrimSpace(name), coding) {
			continue
		}
		q, given := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(weight, " ", "")), "q=")
		return !given || strings.Trim(q, "0.") != "" // every weight but 0
	}
	return false
}

// length is the length of the body that the client gets; -1: not known.
func (c *call) length() int64 {
	if c.coded {
		return -1
	}
	return c.response.Length
}

func (z *compressor) write(part []byte, more bool) error {
	if _, err := z.enc.Write(part); err != nil {
		return err
	}
	if more {
		return z.pass(true)
	}
	if err := z.enc.Flush(); err != nil {
		return err
	}
	return z.pass(false)
}

// pass passes on what is compressed.
func (z *compressor) pass(more bool) error {
	for z.out.Len() > 0 {
		part := z.out.Next(h1.Large)
		if err := z.downstream.write(part, more || z.out.Len() > 0); err != nil {
			return err
		}
	}
	return nil
}

func (z *compressor) shut(trailer []h1.Field) error {
	err := z.enc.Close()
	if err == nil {
		err = z.pass(true)
	}
	z.end()
	if err != nil {
		return err
	}
	return z.downstream.shut(trailer)
}

func (z *compressor) abort(why error) {
	z.end()
	z.downstream.abort(why)
}

func (z *compressor) end() {
	if z.enc != nil {
		z.call.server.encoders.giveBack(z.coding, z.level, z.enc)
		z.enc = nil
	}
}
