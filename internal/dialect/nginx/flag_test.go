package nginx

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/dialect"
)

func TestJudgeArgument(t *testing.T) {
	for _, c := range []struct {
		arg    string
		effect dialect.Effect
		fix    string
	}{
		{"--publish-service=$(POD_NAMESPACE)/ingress-nginx-controller", dialect.Full, ""},
		{"--election-id=ingress-nginx-leader", dialect.Full, ""},
		{"--controller-class=k8s.io/ingress-nginx", dialect.Full, ""},
		{"--controller-class=k8s.io/internal-nginx", dialect.Partly, "spec.controller"},
		{"--ingress-class=nginx", dialect.Full, ""},
		{"--ingress-class=internal", dialect.Partly, "IngressClass"},
		{"--configmap=$(POD_NAMESPACE)/ingress-nginx-controller", dialect.Full, ""},
		{"--configmap=web/settings", dialect.Partly, "gateway.options"},
		{"--default-ssl-certificate=web/wildcard", dialect.Partly, "the option default-ssl-certificate"},
		{"--watch-ingress-without-class", dialect.Partly, "default IngressClass"},
		{"--watch-ingress-without-class=false", dialect.Full, ""},
		{"--enable-ssl-passthrough", dialect.Full, ""},
		{"--update-status", dialect.Full, ""},
		{"--update-status=false", dialect.Refused, "always written"},
		{"--watch-namespace=web", dialect.Refused, "class"},
		{"-v=3", dialect.Full, ""},
		{"--watch-namespaces=web", dialect.Refused, "did you mean --watch-namespace?"},
	} {
		if j, ok := JudgeArgument(c.arg); !ok || j.Effect != c.effect || !strings.Contains(j.Fix, c.fix) || c.effect != dialect.Full && j.Message == "" {
			t.Errorf("%s: %+v", c.arg, j)
		}
	}
	if _, ok := JudgeArgument("/nginx-ingress-controller"); ok {
		t.Error("a command is no flag")
	}
}

// TestFlags: each is there once, and says what to do.
func TestFlags(t *testing.T) {
	flags := Flags()
	for i, f := range flags {
		if i > 0 && flags[i-1].Key == f.Key {
			t.Errorf("%s is there twice", f.Key)
		}
		if f.Text == "" && f.Effect != dialect.Silent {
			t.Errorf("%s has no text", f.Key)
		}
	}
	if !slices.IsSortedFunc(flags, func(a, b Flag) int { return strings.Compare(a.Key, b.Key) }) || len(flags) < 70 {
		t.Errorf("%d flags", len(flags))
	}
}
