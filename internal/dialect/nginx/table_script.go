package nginx

import (
	"fmt"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// Script is the group of backend-protocol FCGI.
type Script struct {
	Index  string
	Params string // ConfigMap; "": none
}

func scriptTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "fastcgi-index", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "File, as in index.php, that is asked for where the path ends in a slash, with backend-protocol FCGI"},
			func(s *Settings, v string) error {
				if strings.TrimSpace(v) == "" || strings.ContainsFunc(v, notOfScript("")) {
					return &dialect.ValueError{Problem: fmt.Sprintf("%q is no name of a file", v), Fix: "write one like index.php"}
				}
				s.Script.Index = v
				return nil
			}},
		{dialect.Doc{Key: "fastcgi-params-configmap", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "ConfigMap with parameters for the application, as in SCRIPT_FILENAME: /var/www$fastcgi_script_name, with backend-protocol FCGI; without it 503"},
			func(s *Settings, v string) error { return set(&s.Script.Params, v, parseObject) }},
	}
}

// notOfScript says what ingress-nginx does not take in names and, with more, in values.
func notOfScript(more string) func(rune) bool {
	return func(r rune) bool {
		return !strings.ContainsRune(".-_"+more, r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
}

// ParseScriptParam reads the value of a parameter for FastCGI, which may have the variables
// of values, $fastcgi_script_name, $document_root and $fastcgi_path_info.
func ParseScriptParam(name, value string) (dialect.Template, error) {
	if name == "" || strings.ContainsFunc(name, notOfScript("")) || strings.ContainsFunc(value, notOfScript("${}/")) {
		return nil, &dialect.ValueError{Problem: "names have letters, digits and .-_ only, and values ${}/ as well", Fix: "write it without others"}
	}
	return parseVariablesOf(value, func(name string) (dialect.Var, bool) {
		switch name {
		case "fastcgi_script_name", "document_root", "fastcgi_path_info":
			return dialect.Var(name), true
		}
		return dialect.LookUp(name)
	}, "there are those of annotations, and $fastcgi_script_name and $document_root")
}
