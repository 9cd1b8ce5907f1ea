package proxy

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
)

// requestID is the client's X-Request-ID, or a new one.
func requestID(claimed string) string {
	if claimed != "" && len(claimed) <= 200 {
		return claimed
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // does not fail (crypto/rand)
	return hex.EncodeToString(b[:])
}

// underscored says that a name has an underscore, which CGI cannot tell from a dash:
// such fields are not passed on (nginx's underscores_in_headers).
func underscored(name []byte) bool { return bytes.IndexByte(name, '_') >= 0 }
