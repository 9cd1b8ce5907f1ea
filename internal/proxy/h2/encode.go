package h2

import (
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// Encoder adds fields to a head. It uses HPACK's static table only, as HAProxy and
// nginx do: the dynamic one saves octets, and costs more than they do.
type Encoder struct{ b []byte }

// The full entries of the static table that heads begin with (RFC 7541, appendix A).
const (
	indexAuthority = 1
	indexGet       = 2
	indexPost      = 3
	indexSlash     = 4
	indexHTTP      = 6
	indexHTTPS     = 7
	indexStatus    = 8
)

// Status begins the head of a response.
func (e *Encoder) Status(status int) {
	for i, known := range [...]int{200, 204, 206, 304, 400, 404, 500} {
		if status == known {
			e.b = append(e.b, 0x80|byte(indexStatus+i))
			return
		}
	}
	e.b = append(e.b, indexStatus, 3)
	e.b = strconv.AppendInt(e.b, int64(status), 10)
}

// Request begins the head of a request.
func (e *Encoder) Request(method, scheme, authority, path string) {
	switch method {
	case "GET":
		e.b = append(e.b, 0x80|indexGet)
	case "POST":
		e.b = append(e.b, 0x80|indexPost)
	default:
		e.b = appendText(append(e.b, indexGet), method)
	}
	if scheme == "https" {
		e.b = append(e.b, 0x80|indexHTTPS)
	} else {
		e.b = append(e.b, 0x80|indexHTTP)
	}
	e.b = appendText(append(e.b, indexAuthority), authority)
	if path == "/" {
		e.b = append(e.b, 0x80|indexSlash)
	} else {
		e.b = appendText(append(e.b, indexSlash), path)
	}
}

// Connect begins the head of an extended CONNECT (RFC 8441, section 4).
func (e *Encoder) Connect(protocol, scheme, authority, path string) {
	e.Request("CONNECT", scheme, authority, path)
	e.Field(":protocol", protocol)
}

// Field adds a field; its name may be written in any case.
func (e *Encoder) Field(name, value string) { e.b = appendField(e.b, name, value) }

// Copy adds a field.
func (e *Encoder) Copy(name, value []byte) { e.b = appendField(e.b, name, value) }

// Number adds a field whose value is a number.
func (e *Encoder) Number(name string, n int64) {
	var digits [20]byte
	e.b = appendField(e.b, []byte(name), strconv.AppendInt(digits[:0], n, 10))
}

// appendField adds a literal that the peer does not keep.
func appendField[T string | []byte](b []byte, name, value T) []byte {
	var room [64]byte
	lower := room[:0]
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		lower = append(lower, c)
	}
	if i := staticNames[string(lower)]; i != 0 {
		b = appendInt(b, 0, 4, int(i))
	} else {
		b = appendText(append(b, 0), lower)
	}
	return appendText(b, value)
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(appendInt(b, 0, 7, len(s)), s...)
}

// appendInt adds an integer with a prefix of so many bits (RFC 7541, section 5.1).
func appendInt(b []byte, first byte, bits uint, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(b, first|byte(n))
	}
	b = append(b, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// staticNames are the names of the static table, with their first index. It is a
// table and not a variable: nobody writes it.
var staticNames = func() map[string]uint8 {
	names := [...]string{"accept-charset", "accept-encoding", "accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age", "allow",
		"authorization", "cache-control", "content-disposition", "content-encoding", "content-language", "content-length", "content-location",
		"content-range", "content-type", "cookie", "date", "etag", "expect", "expires", "from", "host", "if-match", "if-modified-since",
		"if-none-match", "if-range", "if-unmodified-since", "last-modified", "link", "location", "max-forwards", "proxy-authenticate",
		"proxy-authorization", "range", "referer", "refresh", "retry-after", "server", "set-cookie", "strict-transport-security",
		"transfer-encoding", "user-agent", "vary", "via", "www-authenticate"}
	out := make(map[string]uint8, len(names))
	for i, name := range names {
		out[name] = uint8(i + 15)
	}
	return out
}()

// newDecoder reads heads; emit gets their fields.
func newDecoder(most int, emit func(hpack.HeaderField)) *hpack.Decoder {
	d := hpack.NewDecoder(4096, emit)
	d.SetMaxStringLength(most)
	return d
}
