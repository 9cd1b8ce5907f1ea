package nginx

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

func accessTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "allowlist-source-range", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Client addresses that may ask, as CIDRs separated by commas; all others get 403"},
			func(s *Settings, v string) error { return set(&s.Allow, v, parsePrefixes) }},
		{dialect.Doc{Key: "denylist-source-range", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Client addresses that get 403, as CIDRs separated by commas"},
			func(s *Settings, v string) error { return set(&s.Deny, v, parsePrefixes) }},
		{dialect.Doc{Key: "satisfy", Default: "all", Scope: dialect.Location, Risk: dialect.Low,
			Text: "any: one of source ranges, auth-url and auth-type is enough to be let in"},
			func(s *Settings, v string) error { return set(&s.SatisfyAny, v, parseSatisfy) }},
		{dialect.Doc{Key: "whitelist-source-range", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "The older name of allowlist-source-range"},
			func(s *Settings, v string) error { return set(&s.Allow, v, parsePrefixes) }},
	}
}

func basicTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "auth-realm", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "What a browser shows when it asks for the password"},
			func(s *Settings, v string) error { return set(&s.Basic.Realm, v, parseQuotable) }},
		{dialect.Doc{Key: "auth-secret", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Secret with users and hashes of their passwords; one of another namespace only with allow-cross-namespace-resources"},
			func(s *Settings, v string) error { return set(&s.Basic.Secret, v, parseObject) }},
		{dialect.Doc{Key: "auth-secret-type", Default: "auth-file", Scope: dialect.Location, Risk: dialect.Low,
			Text: "auth-file: the key auth of the Secret holds lines of htpasswd (or htdigest); auth-map: its keys are users, its values hashes"},
			func(s *Settings, v string) error { return set(&s.Basic.Map, v, choice("auth-file", "auth-map")) }},
		{dialect.Doc{Key: "auth-type", Scope: dialect.Location, Risk: dialect.Low,
			Text: "basic or digest: ask for a name and a password (401). Hashes may be bcrypt, MD5 (apr1), SHA-1, SHA-256/512 crypt or plain"},
			func(s *Settings, v string) error { return set(&s.Basic.Type, v, parseAuthType) }},
	}
}

func clientCertTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "auth-tls-error-page", Scope: dialect.Host, Risk: dialect.High,
			Text: "Where to send (302) whoever has no valid certificate"},
			func(s *Settings, v string) error { return set(&s.ClientCert.ErrorPage, v, parsePlainURL) }},
		{dialect.Doc{Key: "auth-tls-match-cn", Scope: dialect.Host, Risk: dialect.High,
			Text: "Regular expression, beginning with CN=, that the subject of the certificate must match; else 403"},
			func(s *Settings, v string) error { return set(&s.ClientCert.MatchCN, v, parseCN) }},
		{dialect.Doc{Key: "auth-tls-pass-certificate-to-upstream", Default: "false", Scope: dialect.Host, Risk: dialect.Low,
			Text: "Give the pods the certificate (PEM, escaped) in the header ssl-client-cert"},
			func(s *Settings, v string) error { return set(&s.ClientCert.Pass, v, parseBool) }},
		{dialect.Doc{Key: "auth-tls-secret", Scope: dialect.Host, Risk: dialect.Medium,
			Text: "Secret whose key ca.crt has the authorities that clients' certificates must come from; the host then asks for one"},
			func(s *Settings, v string) error { return set(&s.ClientCert.Secret, v, parseObject) }},
		{dialect.Doc{Key: "auth-tls-verify-client", Default: "on", Scope: dialect.Host, Risk: dialect.Medium,
			Text: "on: 400 without a valid certificate; optional: 400 only for an invalid one; optional_no_ca: the pods decide, by ssl-client-verify; off"},
			func(s *Settings, v string) error { return set(&s.ClientCert.Verify, v, parseVerify) }},
		{dialect.Doc{Key: "auth-tls-verify-depth", Default: "1", Scope: dialect.Host, Risk: dialect.Low,
			Text: "How many authorities there may be between the certificate and one of the Secret"},
			func(s *Settings, v string) error { return set(&s.ClientCert.Depth, v, parseCount) }},
	}
}

// choice is a parser for two words; it says whether the value is the second.
func choice(no, yes string) func(string) (bool, error) {
	return func(v string) (bool, error) {
		switch strings.TrimSpace(v) {
		case no:
			return false, nil
		case yes:
			return true, nil
		}
		return false, &dialect.ValueError{Problem: fmt.Sprintf("%q is not known", v), Fix: fmt.Sprintf("write %q or %q", no, yes)}
	}
}

func parseSatisfy(v string) (bool, error) { return choice("all", "any")(v) }

func oneOf(v string, known ...string) (string, error) {
	v = strings.TrimSpace(v)
	if slices.Contains(known, v) {
		return v, nil
	}
	return "", &dialect.ValueError{Problem: fmt.Sprintf("%q is not known", v), Fix: "write " + strings.Join(known, ", ")}
}

func parseAuthType(v string) (string, error) { return oneOf(v, "basic", "digest") }
func parseVerify(v string) (string, error) {
	return oneOf(v, "on", "off", "optional", "optional_no_ca")
}

// parseQuotable accepts what can stand between the quotes of a header.
func parseQuotable(v string) (string, error) {
	if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' }) {
		return "", &dialect.ValueError{Problem: fmt.Sprintf("%q holds a quote, a backslash or a control character", v), Fix: "write plain text"}
	}
	return v, nil
}

// parseObject accepts the name of an object, perhaps with its namespace.
func parseObject(v string) (string, error) {
	v = strings.TrimSpace(v)
	namespace, name, ok := strings.Cut(v, "/")
	if !ok {
		namespace, name = "", v
	}
	label := func(s string) bool {
		return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool { return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '.') })
	}
	if !label(name) || ok && !label(namespace) {
		return "", &dialect.ValueError{Problem: fmt.Sprintf("%q is not the name of an object", v), Fix: `write "name" or "namespace/name"`}
	}
	return v, nil
}

func parsePlainURL(v string) (string, error) {
	t, err := parseTemplate(v)
	if err != nil {
		return "", err
	}
	text, ok := t.Plain()
	if !ok {
		return "", &dialect.ValueError{Problem: fmt.Sprintf("%q has a variable", v), Fix: "write a URL without"}
	}
	return text, nil
}

func parseCN(v string) (*regexp.Regexp, error) {
	if !strings.HasPrefix(v, "CN=") {
		return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q does not begin with CN=", v), Fix: `write one like "CN=(alice|bob)"`}
	}
	return parseRegex(v)
}
