package passwd

import (
	"bytes"
	"crypto/sha1" //nolint:gosec
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Verify reports whether hash is of password. A hash of a kind that is not known
// belongs to no password.
func Verify(password, hash string) bool {
	switch {
	case strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"), strings.HasPrefix(hash, "$2y$"):
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	case strings.HasPrefix(hash, "$apr1$"):
		return same(md5Crypt(password, hash, "$apr1$"), hash)
	case strings.HasPrefix(hash, "$1$"):
		return same(md5Crypt(password, hash, "$1$"), hash)
	case strings.HasPrefix(hash, "$5$"), strings.HasPrefix(hash, "$6$"):
		return same(shaCrypt(password, hash), hash)
	case strings.HasPrefix(hash, "{SHA}"):
		sum := sha1.Sum([]byte(password)) //nolint:gosec
		return same("{SHA}"+base64.StdEncoding.EncodeToString(sum[:]), hash)
	case strings.HasPrefix(hash, "{SSHA}"):
		return salted(password, hash[len("{SSHA}"):])
	case strings.HasPrefix(hash, "{PLAIN}"):
		return same(password, hash[len("{PLAIN}"):])
	}
	return false
}

func same(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// salted compares SHA-1 of password and salt, which stands behind the digest.
func salted(password, text string) bool {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) < sha1.Size {
		return false
	}
	sum := sha1.Sum(append([]byte(password), b[sha1.Size:]...)) //nolint:gosec
	return subtle.ConstantTimeCompare(sum[:], b[:sha1.Size]) == 1
}

const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// encode writes 24 bits as n letters, the lowest six bits first.
func encode(out *bytes.Buffer, a, b, c byte, n int) {
	for v := uint(a)<<16 | uint(b)<<8 | uint(c); n > 0; n-- {
		out.WriteByte(alphabet[v&63])
		v >>= 6
	}
}
