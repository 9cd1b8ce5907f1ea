package nginx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// LogFormat is a line of the access log.
type LogFormat struct {
	Line   dialect.Template
	Escape Escape
}

// Escape is how values are written into it.
type Escape string

// The ways, by the names of nginx's directive log_format.
const (
	EscapeDefault Escape = "default" // \xXX; - for what there is not
	EscapeJSON    Escape = "json"
	EscapeNone    Escape = "none"
)

// defaultLog is ingress-nginx's log-format-upstream.
const defaultLog = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id`

// logVariables are those that only lines of the log have.
func logVariables() []string {
	return strings.Fields(`body_bytes_sent bytes_sent msec proxy_alternative_upstream_name proxy_upstream_name request request_length request_time remote_port
		server_protocol ssl_cipher ssl_protocol ssl_server_name status time_iso8601 time_local upstream_addr upstream_connect_time upstream_header_time
		upstream_response_length upstream_response_time upstream_status`)
}

func logOptions() []Option {
	escape := func(e Escape) func(o *Options, v string) error {
		return func(o *Options, v string) error {
			on, err := parseBool(v)
			if err != nil || !on {
				return err
			}
			if o.Log == nil {
				o.Log = &LogFormat{}
				o.Log.Line, _ = parseLog(defaultLog)
			}
			if o.Log.Escape != EscapeJSON { // of both it is the one that ingress-nginx writes
				o.Log.Escape = e
			}
			return nil
		}
	}
	if _, err := parseLog(defaultLog); err != nil {
		panic(err) // a mistake of ours
	}
	return []Option{
		{Doc: dialect.Doc{Key: "log-format-escape-json", Default: "false", Text: "Values are written as in strings of JSON. Without log-format-upstream the line is that of ingress-nginx"}, set: escape(EscapeJSON)},
		{Doc: dialect.Doc{Key: "log-format-escape-none", Default: "false", Text: "Values are written as they are, but for ends of lines. Without log-format-upstream the line is that of ingress-nginx"}, set: escape(EscapeNone)},
		{Doc: dialect.Doc{Key: "log-format-upstream", Default: "as the flags --access-log-… of the gateway say", Text: "Line of the access log, where the gateway has one (--access-log). That of ingress-nginx is " + defaultLog + ". Beside the variables of values above it may have $" + strings.Join(logVariables(), ", $")},
			set: func(o *Options, v string) error {
				line, err := parseLog(v)
				if err != nil {
					return err
				}
				if o.Log == nil {
					o.Log = &LogFormat{}
				}
				o.Log.Line = line
				return nil
			}},
	}
}

// parseLog reads a line with variables, of values and of the log.
func parseLog(v string) (dialect.Template, error) {
	if strings.ContainsAny(v, "\r\n") {
		v = strings.NewReplacer("\r", "", "\n", "").Replace(v) // as a folded scalar of YAML may end
	}
	if strings.TrimSpace(v) == "" {
		return nil, &dialect.ValueError{Problem: "the line is empty", Fix: "remove the option, or write one with variables"}
	}
	return parseVariablesOf(v, func(name string) (dialect.Var, bool) {
		if slices.Contains(logVariables(), name) {
			return dialect.Var(name), true
		}
		return dialect.LookUp(name)
	}, fmt.Sprintf("there are those of annotations, and $%s", strings.Join(logVariables(), ", $")))
}
