package nginx

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// Compression says which responses are compressed for clients that accept it.
type Compression struct {
	Gzip, Brotli Coding
	Disable      *regexp.Regexp // of User-Agent, for gzip; nil: nobody
}

// Coding is a content coding.
type Coding struct {
	On    bool
	Level int
	Least int64           // octets of the response, where its length is known
	Types map[string]bool // media types in lower case; "*" is all
}

// Fits reports whether responses of a media type and length (-1: not known) are compressed.
func (c *Coding) Fits(mediaType string, length int64) bool {
	return c.On && (length < 0 || length >= max(c.Least, 1)) && (c.Types["*"] || c.Types[mediaType])
}

// compressedTypes are those of ingress-nginx.
const compressedTypes = "application/atom+xml application/javascript application/x-javascript application/json application/rss+xml application/vnd.ms-fontobject application/x-font-ttf application/x-web-app-manifest+json application/xhtml+xml application/xml font/opentype image/svg+xml image/x-icon text/css text/javascript text/plain text/x-component"

func newCompression() Compression {
	types, _ := parseTypes(compressedTypes)
	both, _ := parseTypes("application/xml+rss " + compressedTypes)
	return Compression{Gzip: Coding{Level: 1, Least: 256, Types: types}, Brotli: Coding{Level: 4, Least: 20, Types: both}}
}

func compressOptions() []Option {
	level := func(least, most int) func(string) (int, error) {
		return func(v string) (int, error) {
			n, err := parseCount(v)
			if err == nil && (n < least || n > most) {
				err = &dialect.ValueError{Problem: fmt.Sprintf("level %d does not exist", n), Fix: fmt.Sprintf("write one from %d to %d", least, most)}
			}
			return n, err
		}
	}
	return []Option{
		{Doc: dialect.Doc{Key: "brotli-level", Default: "4", Text: "0 to 11"},
			set: func(o *Options, v string) error { return set(&o.Compress.Brotli.Level, v, level(0, 11)) }},
		{Doc: dialect.Doc{Key: "brotli-min-length", Default: "20", Text: "Length of responses from which on they are compressed"},
			set: func(o *Options, v string) error { return set(&o.Compress.Brotli.Least, v, parseSize) }},
		{Doc: dialect.Doc{Key: "brotli-types", Default: "those of gzip-types, and application/xml+rss", Text: "Media types that are compressed, beside text/html; * is all"},
			set: func(o *Options, v string) error { return set(&o.Compress.Brotli.Types, v, parseTypes) }},
		{Doc: dialect.Doc{Key: "enable-brotli", Default: "false", Text: "Compress responses by brotli, for clients that accept it, rather than by gzip"},
			set: func(o *Options, v string) error { return set(&o.Compress.Brotli.On, v, parseBool) }},
		{Doc: dialect.Doc{Key: "gzip-disable", Text: "Regular expression; clients whose User-Agent it matches get no gzip. msie6 stands for MSIE 4 to 6"},
			set: func(o *Options, v string) error { return set(&o.Compress.Disable, v, parseAgents) }},
		{Doc: dialect.Doc{Key: "gzip-level", Default: "1", Text: "1 to 9"},
			set: func(o *Options, v string) error { return set(&o.Compress.Gzip.Level, v, level(1, 9)) }},
		{Doc: dialect.Doc{Key: "gzip-min-length", Default: "256", Text: "Length of responses from which on they are compressed"},
			set: func(o *Options, v string) error { return set(&o.Compress.Gzip.Least, v, parseSize) }},
		{Doc: dialect.Doc{Key: "gzip-types", Default: compressedTypes, Text: "Media types that are compressed, beside text/html; * is all"},
			set: func(o *Options, v string) error { return set(&o.Compress.Gzip.Types, v, parseTypes) }},
		{Doc: dialect.Doc{Key: "use-gzip", Default: "false", Text: "Compress responses by gzip, for clients of HTTP/1.1 and later that accept it: those with status 200, 403 and 404 that are not compressed yet. What is streamed is not held back"},
			set: func(o *Options, v string) error { return set(&o.Compress.Gzip.On, v, parseBool) }},
	}
}

// parseTypes reads media types; text/html is always one.
func parseTypes(v string) (map[string]bool, error) {
	types := map[string]bool{"text/html": true}
	for _, t := range strings.Fields(strings.ToLower(v)) {
		if t != "*" && (strings.Count(t, "/") != 1 || strings.ContainsAny(t, ",;\"*")) {
			return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is no media type", t), Fix: `write a list like "text/css application/json"`}
		}
		types[t] = true
	}
	return types, nil
}

// parseAgents reads the argument of nginx's gzip_disable.
func parseAgents(v string) (*regexp.Regexp, error) {
	if v = strings.TrimSpace(v); v == "msie6" {
		v = `MSIE [4-6]\.`
	}
	if v == "" {
		return nil, nil
	}
	re, err := regexp.Compile("(?i)" + v)
	if err != nil {
		return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is no regular expression", v), Fix: "the syntax is RE2"}
	}
	return re, nil
}
