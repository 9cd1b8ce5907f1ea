package fairway

import (
	"fmt"
	"io"
	"strings"
)

// WritePage writes the documentation of all annotations.
func WritePage(w io.Writer) {
	fmt.Fprint(w, `# Fairway's own annotations

<!-- Made by "make generate" from internal/dialect/fairway. Do not edit. -->

They have the prefix `+"`"+Prefix+"`"+`. What is wrong is told by an Event of the object,
and the rest counts.

## Of Ingresses

Which requests the rules of an Ingress are for, beside those for its hosts and paths, and what they may do.
Where no rule of a path is for a request, those of shorter paths are looked at.

`)
	writeTable(w, ingressTable())
	fmt.Fprint(w, `
## Of Services

How requests are spread over the pods of a Service, and how much each pod may get: it
holds for all Ingresses that lead there.

`)
	writeTable(w, serviceTable())
	fmt.Fprint(w, `
What needs no annotation: a pod that refuses connections, or breaks five requests in
a row, is left alone for a time that grows with each further failure; where no pod is
well, all are asked. A pod that leaves gets no new requests, and ends those that it
has. Each gateway keeps its own account: the limits are per gateway and pod.
`)
}

func writeTable[S any](w io.Writer, rows []annotation[S]) {
	fmt.Fprint(w, "| annotation | default | what it does |\n|---|---|---|\n")
	for _, a := range rows {
		def := ""
		if a.Default != "" {
			def = "`" + a.Default + "`"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", a.Key, def, strings.ReplaceAll(a.Text, "|", "\\|"))
	}
}
