package dialect

import "testing"

func TestNearest(t *testing.T) {
	keys := []string{"rewrite-target", "ssl-redirect", "force-ssl-redirect", "nginx", "fairway"}
	for word, want := range map[string]string{
		"rewrite-taget":  "rewrite-target",
		"ssl-rediret":    "ssl-redirect",
		"ngnix":          "nginx",
		"farway":         "fairway",
		"force-redirect": "force-ssl-redirect",
		"haproxy":        "",
		"x":              "",
		"":               "",
	} {
		got, ok := Nearest(word, keys)
		if got != want || ok != (want != "") {
			t.Errorf("Nearest(%q) = %q, %v, want %q", word, got, ok, want)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("edits(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
