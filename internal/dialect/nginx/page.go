package nginx

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// WritePage writes the documentation of all annotations and options.
func WritePage(w io.Writer) {
	fmt.Fprint(w, `# Annotations of ingress-nginx

<!-- Made by "make generate" from internal/dialect/nginx. Do not edit. -->

Fairway reads the annotations of ingress-nginx v1.15, with the prefix
`+"`"+Prefix+"`"+`, on Ingresses of all its classes. Where the table says nothing
else, an annotation does what it does there: the same statuses, headers, defaults
and precedence. What cannot be followed is told by an Event that names the
annotation, and the rest of the Ingress works; where it was to keep somebody out,
requests get 503 until it is mended. `+"`fairway migrate ingress-nginx`"+` says all this
of your Ingresses before you move ([how](migrate.md)).

* **Scope** is location for the paths of the Ingress itself, host where the
  annotation also reaches the paths that other Ingresses have on the same host.
* **Risk** is what somebody could do who may write the annotation and is not
  trusted. The option `+"`annotations-risk-level`"+` sets what is accepted.
* **Effect** is empty for "as in ingress-nginx". Partly: the text says what differs.
  Silent: accepted, because what it tunes needs no tuning here.
* Values may hold variables where the text says so or shows one. They are a closed
  set, and a value is never read as configuration: $scheme, $host, $http_host,
  $request_uri, $escaped_request_uri, $uri, $args, $is_args, $request_method,
  $remote_addr, $request_id, $server_port, $namespace, $ingress_name, $service_name,
  $service_port, $ssl_client_s_dn, $ssl_client_verify, $http_NAME, $cookie_NAME, $arg_NAME.
* Regular expressions are RE2, which takes time in proportion to the text.
  Lookaround and backreferences are refused.
`)
	for _, group := range groups() {
		fmt.Fprintf(w, "\n## %s\n\n| annotation | default | scope | risk | effect | what it does |\n|---|---|---|---|---|---|\n", group)
		for _, a := range table() {
			if a.Group == group {
				fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s | %s |\n", a.Key, quoted(a.Default), a.Scope, a.Risk, a.Effect, cell(a.Text))
			}
		}
	}
	fmt.Fprint(w, `
## Options

The options of ingress-nginx's ConfigMap hold for all Ingresses. Fairway reads them
from ConfigMaps called `+"`ingress-nginx-controller`"+`: that of the namespace
`+"`ingress-nginx`"+`, and that of its own namespace, which wins and which the chart makes
of the value `+"`gateway.options`"+`. A change is in effect at once.
What keeps clients out and cannot be read (addresses, global-auth-url) is not just left
out: where it counts, requests get 503 until it is mended.

| option | default | what it does |
|---|---|---|
`)
	var silent []string
	var refused [][]string // text, keys
	for _, o := range optionTable() {
		switch o.Effect {
		case dialect.Silent:
			silent = append(silent, "`"+o.Key+"`")
			continue
		case dialect.Refused:
			i := slices.IndexFunc(refused, func(r []string) bool { return r[0] == o.Text })
			if i < 0 {
				i, refused = len(refused), append(refused, []string{o.Text})
			}
			refused[i] = append(refused[i], "`"+o.Key+"`")
			continue
		}
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", o.Key, quoted(o.Default), cell(o.Text))
	}
	fmt.Fprintf(w, "\nAccepted without effect, because they tune machinery that works otherwise here:\n%s.\n", strings.Join(silent, ", "))
	fmt.Fprint(w, "\nNot followed. An Event on the ConfigMap tells it, and `fairway migrate ingress-nginx`,\nunless the value asks for what is done anyway:\n\n| options | why, and what to do |\n|---|---|\n")
	for _, r := range refused {
		fmt.Fprintf(w, "| %s | %s |\n", strings.Join(r[1:], ", "), cell(r[0]))
	}
	fmt.Fprint(w, "\nWhat ingress-nginx does not know either is told by an Event as well, with what was meant.\n")
	writeFlags(w)
}

// writeFlags documents the flags of the controller.
func writeFlags(w io.Writer) {
	fmt.Fprint(w, `
## Flags of the controller

What ingress-nginx's controller is told by arguments is said elsewhere here.
`+"`fairway migrate ingress-nginx`"+` reads the arguments of the controllers that it finds.

| flag | what becomes of it |
|---|---|
`)
	var silent []string
	for _, f := range Flags() {
		switch f.Effect {
		case dialect.Silent:
			silent = append(silent, "`--"+f.Key+"`")
		case dialect.Refused:
			fmt.Fprintf(w, "| `--%s` | Not followed. %s |\n", f.Key, cell(f.Text))
		default:
			fmt.Fprintf(w, "| `--%s` | %s |\n", f.Key, cell(f.Text))
		}
	}
	fmt.Fprintf(w, "\nNothing has to be done about %s.\n", strings.Join(silent, ", "))
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

// groups are the headings in the order of the page.
func groups() (out []string) {
	for _, g := range groupTable() {
		out = append(out, g.name)
	}
	return out
}
