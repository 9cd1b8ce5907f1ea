package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/passwd"
)

// basicAuth reads a value of Authorization (RFC 7617).
func basicAuth(value string) (user, password string, ok bool) {
	scheme, rest, found := strings.Cut(value, " ")
	if !found || !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(b), ":")
}

// known remembers passwords that were right: hashes are slow on purpose, and
// clients send the same password with each request. It holds digests only.
type known struct {
	mu  sync.Mutex
	set map[[sha256.Size]byte]struct{}
}

const maxKnown = 10_000

func (k *known) verify(user, password, hash string) bool {
	key := sha256.Sum256(fmt.Appendf(nil, "%d %s %d %s %s", len(user), user, len(password), password, hash))
	k.mu.Lock()
	_, ok := k.set[key]
	k.mu.Unlock()
	if ok {
		return true
	}
	if !passwd.Verify(password, hash) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set == nil || len(k.set) >= maxKnown {
		k.set = map[[sha256.Size]byte]struct{}{}
	}
	k.set[key] = struct{}{}
	return true
}

// identified says whether the client gave a name and its password; if not, challenge
// is the value of WWW-Authenticate.
func (x *exchange) identified(p *route.Password) (ok bool, challenge string) {
	if p.Digest {
		return x.server.digests.verify(x, p)
	}
	user, password, given := basicAuth(x.fields.Get("Authorization"))
	if hash, exists := p.Users[user]; given && exists && x.server.known.verify(user, password, hash) {
		return true, ""
	}
	return false, fmt.Sprintf("Basic realm=%q", p.Realm)
}

// unauthorized asks for a name and a password.
func (x *exchange) unauthorized(challenge string) {
	x.writer.Header().Set("WWW-Authenticate", challenge)
	x.fail(http.StatusUnauthorized, "a name and a password are needed here")
}

// same compares without telling by its time how much is alike.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
