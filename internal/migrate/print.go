package migrate

import (
	"fmt"
	"io"
	"strings"
)

// Print writes r for people: controllers, then the Ingresses that need a look, line by line in the
// form that editors jump to, and then the count.
func (r *Report) Print(w io.Writer) {
	for _, c := range r.Controllers {
		fmt.Fprintf(w, "%s %s/%s\n", c.Kind, c.Namespace, c.Name)
		if len(c.Works) > 0 {
			fmt.Fprintf(w, "  nothing to do: %s\n", strings.Join(c.Works, ", "))
		}
		for _, f := range c.Findings {
			f.print(w, "")
		}
	}
	for _, f := range r.Options {
		f.print(w, "ConfigMap")
	}
	for i := range r.Ingresses {
		ing := &r.Ingresses[i]
		fmt.Fprintf(w, "%sIngress %s/%s: %s\n", at(ing.File, ing.Line), ing.Namespace, ing.Name, ing.Verdict)
		if len(ing.Works) > 0 {
			fmt.Fprintf(w, "  works: %s\n", strings.Join(ing.Works, ", "))
		}
		for _, f := range ing.Findings {
			f.print(w, "")
		}
	}
	s := r.Summary
	fmt.Fprintf(w, "%d work as they are, %d differ, %d have something that is not supported", s.Works, s.Differs, s.Unsupported)
	if r.Foreign > 0 {
		fmt.Fprintf(w, "; %d of other classes were not looked at", r.Foreign)
	}
	fmt.Fprintln(w)
}

func (f *Finding) print(w io.Writer, what string) {
	if what != "" {
		what += " "
	}
	fmt.Fprintf(w, "  %s%s%s: %s\n", at(f.File, f.Line), what, f.Verdict, f.Field)
	fmt.Fprintf(w, "      %s\n", f.Message)
	if f.Fix != "" {
		fmt.Fprintf(w, "      → %s\n", f.Fix)
	}
}

func at(file string, line int) string {
	if file == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d: ", file, line)
}
