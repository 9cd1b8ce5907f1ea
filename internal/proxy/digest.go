package proxy

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/plan/route"
)

// digests are the nonces of digest authentication (RFC 7616, with MD5 as files
// of htdigest have it). A nonce is its time and a signature, so that nothing need
// be kept of those that were given out; each count of a nonce is taken once.
type digests struct {
	once sync.Once
	key  [32]byte

	mu     sync.Mutex
	counts map[string]uint64 // nonce -> highest count
}

// nonceLife is how long a nonce may be used; maxNonces bounds the memory.
const (
	nonceLife = 5 * time.Minute
	maxNonces = 10_000
)

func (d *digests) sign(stamp string) string {
	d.once.Do(func() { _, _ = rand.Read(d.key[:]) }) // does not fail (crypto/rand)
	m := hmac.New(sha256.New, d.key[:])
	m.Write([]byte(stamp))
	return hex.EncodeToString(m.Sum(nil)[:16])
}

func (d *digests) nonce(now time.Time) string {
	var salt [8]byte
	_, _ = rand.Read(salt[:])
	stamp := fmt.Sprintf("%x.%x", now.Unix(), salt)
	return stamp + "." + d.sign(stamp)
}

// fresh says that a nonce is ours and not too old.
func (d *digests) fresh(nonce string, now time.Time) bool {
	i := strings.LastIndexByte(nonce, '.')
	if i < 0 || !same(nonce[i+1:], d.sign(nonce[:i])) {
		return false
	}
	seconds, _, _ := strings.Cut(nonce, ".")
	at, err := strconv.ParseInt(seconds, 16, 64)
	return err == nil && now.Sub(time.Unix(at, 0)) < nonceLife
}

// count takes a count of a nonce, unless it was taken.
func (d *digests) count(nonce, nc string) bool {
	n, err := strconv.ParseUint(nc, 16, 32)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || n <= d.counts[nonce] {
		return false
	}
	if d.counts == nil || len(d.counts) >= maxNonces {
		d.counts = map[string]uint64{} // old nonces are as good as new ones for a replay within their life
	}
	d.counts[nonce] = n
	return true
}

func (d *digests) verify(x *exchange, p *route.Password) (bool, string) {
	now := time.Now()
	challenge := func(stale bool) string {
		c := fmt.Sprintf("Digest algorithm=MD5, qop=\"auth\", realm=%q, nonce=%q", p.Realm, d.nonce(now))
		if stale {
			c += ", stale=true"
		}
		return c
	}
	value := x.fields.Get("Authorization")
	scheme, rest, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Digest") {
		return false, challenge(false)
	}
	a := parameters(rest)
	ha1, exists := p.Users[a["username"]]
	uri := x.askedURI()
	if !exists || a["realm"] != p.Realm || a["qop"] != "auth" || a["uri"] != uri {
		return false, challenge(false)
	}
	want := md5hex(ha1 + ":" + a["nonce"] + ":" + a["nc"] + ":" + a["cnonce"] + ":auth:" + md5hex(x.method+":"+uri))
	if !same(want, strings.ToLower(a["response"])) {
		return false, challenge(false)
	}
	if !d.fresh(a["nonce"], now) || !d.count(a["nonce"], a["nc"]) {
		return false, challenge(true)
	}
	return true, ""
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s)) //nolint:gosec
	return hex.EncodeToString(sum[:])
}

// parameters reads a list of NAME=VALUE whose values may be quoted.
func parameters(s string) map[string]string {
	out := map[string]string{}
	for s != "" {
		name, rest, ok := strings.Cut(s, "=")
		if !ok {
			break
		}
		name = strings.ToLower(strings.TrimSpace(name))
		var value strings.Builder
		if strings.HasPrefix(rest, `"`) {
			i := 1
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' && i+1 < len(rest) {
					i++
				}
				value.WriteByte(rest[i])
			}
			_, s, _ = strings.Cut(rest[min(i, len(rest)):], ",")
		} else {
			var token string
			token, s, _ = strings.Cut(rest, ",")
			value.WriteString(strings.TrimSpace(token))
		}
		if name != "" {
			out[name] = value.String()
		}
	}
	return out
}
