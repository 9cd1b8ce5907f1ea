package fairway

import (
	"fmt"
	"io"
	"strings"
)

// WritePage writes the documentation of all annotations.
func WritePage(w io.Writer) {
	fmt.Fprint(w, `# Annotations of Services for the gateway

<!-- Made by "make generate" from internal/dialect/fairway. Do not edit. -->

How requests are spread over the pods of a Service, and how much each pod may get, is
said on the Service, with the prefix `+"`"+Prefix+"`"+`: it holds for all Ingresses that
lead there. What is wrong is told by an Event of the Service, and the rest counts.

| annotation | default | what it does |
|---|---|---|
`)
	for _, a := range table() {
		def := ""
		if a.Default != "" {
			def = "`" + a.Default + "`"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", a.Key, def, strings.ReplaceAll(a.Text, "|", "\\|"))
	}
	fmt.Fprint(w, `
What needs no annotation: a pod that refuses connections, or breaks five requests in
a row, is left alone for a time that grows with each further failure; where no pod is
well, all are asked. A pod that leaves gets no new requests, and ends those that it
has. Each gateway keeps its own account: the limits are per gateway and pod.
`)
}
