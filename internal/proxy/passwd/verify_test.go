package passwd

import (
	"os/exec"
	"strings"
	"testing"
)

func TestVerify(t *testing.T) {
	hashes := map[string]string{ // made by htpasswd of Apache 2.4, mkpasswd of whois 5.5, slapd
		"{PLAIN}secret":                          "secret",
		"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=":      "secret",
		"{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0": "secret",
	}
	for _, scheme := range []string{"-apr1", "-1", "-5", "-6"} {
		for _, password := range []string{"secret", "a", strings.Repeat("long password ", 9), "sch\u00f6n"} {
			for _, salt := range []string{"abcdefgh", "x"} {
				out, err := exec.Command("openssl", "passwd", scheme, "-salt", salt, "--", password).Output()
				if err != nil {
					t.Skipf("needs openssl: %v", err)
				}
				hashes[strings.TrimSpace(string(out))] = password
			}
		}
	}
	for hash, password := range hashes {
		if hash[0] == '{' && hash[:6] == "{SSHA}" {
			continue // see TestSalted
		}
		if !Verify(password, hash) {
			t.Errorf("%q is not the password of %s", password, hash)
		}
		if Verify(password+"x", hash) {
			t.Errorf("%q is a password of %s", password+"x", hash)
		}
	}
	for _, hash := range []string{"", "secret", "$1$", "$6$rounds=99999999$salt$x", "$5$rounds=x$", "{SHA}", "{SSHA}AA==", "$2y$", "$apr1$", "$6$"} {
		if Verify("secret", hash) || Verify("", hash) {
			t.Errorf("%q lets somebody in", hash)
		}
	}
}
