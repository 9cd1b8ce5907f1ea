package h1

import "testing"

func TestAuthority(t *testing.T) {
	for _, c := range []struct {
		host string
		want bool
	}{
		{"", true}, {"h", true}, {"h:80", true}, {"h:", true}, {"a-b.example.com:65535", true}, {"192.0.2.1:8080", true}, {"[2001:db8::1]", true}, {"[::ffff:192.0.2.1]:443", true}, {"x_y", true}, {"%41", true},
		{"h:65536", false}, {"h:-1", false}, {"h:80:81", false}, {"h:abc", false}, {"::1", false}, {"[::1", false}, {"::1]", false}, {"[]", false}, {"[::1]80", false}, {"[::1]:x", false},
		{"a@b", false}, {"a:b@c", false}, {"a/b", false}, {"a b", false}, {"a,b", true}, {"a#b", false}, {"a?b", false}, {`a\b`, false}, {"ä", false}, {"a\x00", false},
	} {
		if got := authority([]byte(c.host)); got != c.want {
			t.Errorf("%q: %v", c.host, got)
		}
	}
}
