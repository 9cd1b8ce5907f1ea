package passwd

import (
	"bytes"
	"crypto/md5" //nolint:gosec
	"strings"
)

// md5Crypt is the scheme of FreeBSD's crypt(3) with another magic for Apache.
func md5Crypt(password, hash, magic string) string {
	salt, _, ok := strings.Cut(hash[len(magic):], "$")
	if !ok || len(salt) > 8 {
		return ""
	}
	alt := md5.Sum([]byte(password + salt + password)) //nolint:gosec
	h := md5.New()                                     //nolint:gosec
	h.Write([]byte(password + magic + salt))
	for n := len(password); n > 0; n -= md5.Size {
		h.Write(alt[:min(n, md5.Size)])
	}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write([]byte{0})
		} else {
			h.Write([]byte{password[0]})
		}
	}
	sum := h.Sum(nil)
	for i := range 1000 {
		h.Reset()
		if i&1 != 0 {
			h.Write([]byte(password))
		} else {
			h.Write(sum)
		}
		if i%3 != 0 {
			h.Write([]byte(salt))
		}
		if i%7 != 0 {
			h.Write([]byte(password))
		}
		if i&1 != 0 {
			h.Write(sum)
		} else {
			h.Write([]byte(password))
		}
		sum = h.Sum(sum[:0])
	}
	var out bytes.Buffer
	out.WriteString(magic + salt + "$")
	for i := range 5 {
		third := i + 12
		if i == 4 {
			third = 5
		}
		encode(&out, sum[i], sum[i+6], sum[third], 4)
	}
	encode(&out, 0, 0, sum[11], 2)
	return out.String()
}
