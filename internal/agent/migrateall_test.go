package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/migrate"
)

// TestMigrateEveryAnnotation: the report says of every annotation of ingress-nginx whether it
// works, with the line that it is on, and what to write instead where it does not. A value
// of no kind of annotation shows that mistakes are found, too.
func TestMigrateEveryAnnotation(t *testing.T) {
	var b strings.Builder
	line, lines := 1, map[string]int{} // "KEY/NUMBER" -> line
	write := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		b.WriteString(text)
		line += strings.Count(text, "\n")
	}
	write("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n")
	values := []string{"true", "\x7f nonsense ("}
	for _, a := range nginx.Annotations() {
		for n, value := range values {
			write("---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: %s-%d\n  annotations:\n    other: x\n", a.Key, n)
			lines[fmt.Sprint(a.Key, "-", n)] = line
			write("    %s%s: %q\nspec:\n  ingressClassName: nginx\n  rules:\n  - host: %s-%d.example\n    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}\n", nginx.Prefix, a.Key, value, a.Key, n)
		}
	}
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := MigrateFiles([]string{file}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]migrate.Ingress{}
	for _, ing := range r.Ingresses {
		found[ing.Name] = ing
	}
	for _, a := range nginx.Annotations() {
		for n := range values {
			name := fmt.Sprint(a.Key, "-", n)
			ing, field := found[name], nginx.Field(nginx.Prefix+a.Key)
			works := slices.Contains(ing.Works, a.Key)
			i := slices.IndexFunc(ing.Findings, func(f migrate.Finding) bool { return f.Field == field })
			if works == (i >= 0) {
				t.Errorf("%s: works %v, findings %+v", name, works, ing.Findings)
				continue
			}
			if works {
				if a.Effect == dialect.Partly || a.Effect == dialect.Refused {
					t.Errorf("%s is said to work, and is %s", name, a.Effect)
				}
				continue
			}
			f := ing.Findings[i]
			if f.File != file || f.Line != lines[name] || f.Message == "" || f.Verdict == migrate.Unsupported && f.Fix == "" {
				t.Errorf("%s, on line %d: %+v", name, lines[name], f)
			}
			if a.Effect == dialect.Refused && f.Verdict != migrate.Unsupported {
				t.Errorf("%s: %s", name, f.Verdict)
			}
		}
	}
}
