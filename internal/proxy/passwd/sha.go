package passwd

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strconv"
	"strings"
)

// maxRounds bounds the work that a hash may ask for; the scheme allows a thousand
// times as much.
const maxRounds = 1_000_000

// shaCrypt is the scheme of "Unix crypt using SHA-256 and SHA-512" (U. Drepper).
func shaCrypt(password, text string) string {
	magic, rest := text[:3], text[3:]
	rounds, prefix := 5000, ""
	if after, ok := strings.CutPrefix(rest, "rounds="); ok {
		digits, more, _ := strings.Cut(after, "$")
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1000 || n > maxRounds {
			return ""
		}
		rounds, prefix, rest = n, "rounds="+digits+"$", more
	}
	salt, _, ok := strings.Cut(rest, "$")
	if !ok || len(salt) > 16 {
		return ""
	}
	fresh := sha256.New
	if magic == "$6$" {
		fresh = sha512.New
	}
	sum := shaSum(fresh, password, salt, rounds)
	var out bytes.Buffer
	out.WriteString(magic + prefix + salt + "$")
	if magic == "$6$" {
		for i := range 21 {
			a, b, c := i, i+21, i+42
			switch i % 3 {
			case 1:
				a, b, c = b, c, a
			case 2:
				a, b, c = c, a, b
			}
			encode(&out, sum[a], sum[b], sum[c], 4)
		}
		encode(&out, 0, 0, sum[63], 2)
		return out.String()
	}
	for i := range 10 {
		a, b, c := i, i+10, i+20
		switch i % 3 {
		case 1:
			a, b, c = c, a, b
		case 2:
			a, b, c = b, c, a
		}
		encode(&out, sum[a], sum[b], sum[c], 4)
	}
	encode(&out, 0, sum[31], sum[30], 3)
	return out.String()
}

func shaSum(fresh func() hash.Hash, password, salt string, rounds int) []byte {
	h := fresh()
	size := h.Size()
	h.Write([]byte(password + salt + password))
	alt := h.Sum(nil)
	h.Reset()
	h.Write([]byte(password + salt))
	for n := len(password); n > 0; n -= size {
		h.Write(alt[:min(n, size)])
	}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(alt)
		} else {
			h.Write([]byte(password))
		}
	}
	sum := h.Sum(nil)
	p := repeated(fresh, password, len(password), len(password))
	s := repeated(fresh, salt, 16+int(sum[0]), len(salt))
	for i := range rounds {
		h.Reset()
		if i&1 != 0 {
			h.Write(p)
		} else {
			h.Write(sum)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i&1 != 0 {
			h.Write(sum)
		} else {
			h.Write(p)
		}
		sum = h.Sum(sum[:0])
	}
	return sum
}

// repeated is the digest of text, times over, stretched to length.
func repeated(fresh func() hash.Hash, text string, times, length int) []byte {
	h := fresh()
	for range times {
		h.Write([]byte(text))
	}
	sum := h.Sum(nil)
	out := make([]byte, 0, length)
	for len(out) < length {
		out = append(out, sum[:min(len(sum), length-len(out))]...)
	}
	return out
}
