package nginx

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fairway-net/fairway/internal/dialect"
)

// Flag is a flag of ingress-nginx's controller, and what becomes of what it says. Text says
// where to say it here, for Partly, or what to do without.
type Flag struct {
	dialect.Doc
	same func(value string) bool // values that ask for what is done here; nil: none but Default
}

// Flags returns the table of flags, in the order of their names. It must not be changed.
func Flags() []Flag { return flags() }

var flags = sync.OnceValue(func() []Flag {
	all := slices.Concat(followedFlags(), silentFlags(), refusedFlags())
	slices.SortFunc(all, func(a, b Flag) int { return strings.Compare(a.Key, b.Key) })
	return all
})

// is accepts values with one of the endings.
func is(endings ...string) func(string) bool {
	return func(v string) bool {
		return slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(v, e) })
	}
}

func always(string) bool { return true }

// followedFlags have a counterpart here, or ask for what is done anyway.
func followedFlags() []Flag {
	at := func(key, def, text string, same func(string) bool) Flag {
		return Flag{dialect.Doc{Key: key, Default: def, Effect: dialect.Partly, Text: text}, same}
	}
	done := func(key, def, text string) Flag {
		return Flag{dialect.Doc{Key: key, Default: def, Text: text}, always}
	}
	const streams = "The ConfigMaps tcp-services and ingress-nginx-tcp, and their like for UDP, are read where they are, in the namespace ingress-nginx; for another one give the gateway the flag of the same name"
	return []Flag{
		at("configmap", "", "Options are read from ingress-nginx/ingress-nginx-controller; put those of another ConfigMap into the chart's value gateway.options", is("$(POD_NAMESPACE)/ingress-nginx-controller", "ingress-nginx/ingress-nginx-controller")),
		at("controller-class", "k8s.io/ingress-nginx", "Make the IngressClass again, with spec.controller fairway.dev/ingress and the same name", nil),
		at("default-backend-service", "", "Put it into the option default-backend-service", nil),
		at("default-ssl-certificate", "", "Put it into the option default-ssl-certificate", nil),
		done("disable-svc-external-name", "false", "Services of type ExternalName are refused unless the option allow-external-names is on"),
		done("enable-metrics", "false", "Metrics are at /metrics of the gateway's port 8081, with names of their own"),
		done("enable-ssl-passthrough", "false", "Always possible; it costs nothing where no Ingress asks for it"),
		done("enable-topology-aware-routing", "false", "Hints of EndpointSlices always count; the annotation zones of a Service can turn that off"),
		at("http-port", "80", "The gateway's flag --http", is("80", "8080")),
		at("https-port", "443", "The gateway's flag --https", is("443", "8443")),
		at("ingress-class", "nginx", "Make an IngressClass of that name with spec.controller fairway.dev/ingress: it holds for the older annotation, too", is("nginx")),
		at("post-shutdown-grace-period", "10", "The gateway's flags --lame-duck and --drain", always),
		at("shutdown-grace-period", "0", "The gateway's flags --lame-duck and --drain", nil),
		at("tcp-services-configmap", "", streams, is("/tcp-services", "/ingress-nginx-tcp")),
		at("udp-services-configmap", "", streams, is("/udp-services", "/ingress-nginx-udp")),
		at("watch-ingress-without-class", "false", "Ingresses without a class belong to the default IngressClass: the chart's value ingressClasses.fairway.default", is("false")),
	}
}

// silentFlags tune machinery that is not needed here.
func silentFlags() (out []Flag) {
	for _, key := range strings.Fields(`apiserver-host bucket-factor certificate-authority deep-inspect default-server-port disable-full-test disable-leader-election
		disable-sync-events dynamic-configuration-retries election-id election-ttl enable-annotation-validation exclude-socket-metrics health-check-path health-check-timeout
		healthz-host healthz-port ingress-class-by-name internal-logger-address kubeconfig length-buckets max-buckets metrics-per-host metrics-per-undefined-host
		monitor-max-batch-size profiler-port profiling publish-service report-status-classes size-buckets ssl-passthrough-proxy-port status-port status-update-interval
		stream-port sync-period sync-rate-limit time-buckets update-status-on-shutdown validating-webhook validating-webhook-certificate validating-webhook-key version
		add_dir_header alsologtostderr log_backtrace_at log_dir log_file log_file_max_size logtostderr one_output skip_headers skip_log_headers stderrthreshold v vmodule`) {
		out = append(out, Flag{dialect.Doc{Key: key, Effect: dialect.Silent}, always})
	}
	return out
}

// refusedFlags ask for what Fairway does not do.
func refusedFlags() (out []Flag) {
	refuse := func(def, text string, keys ...string) {
		for _, key := range keys {
			out = append(out, Flag{dialect.Doc{Key: key, Default: def, Effect: dialect.Refused, Text: text}, nil})
		}
	}
	refuse("nginx.ingress.kubernetes.io", "Annotations with another prefix are not read: rename them", "annotations-prefix")
	refuse("false", "Ingresses without a host are served, after all others: give them one, or another class", "disable-catch-all")
	refuse("false", "Put the certificate and those of its issuers into tls.crt: nothing is fetched", "enable-ssl-chain-completion")
	refuse("", "There is no GeoIP: let what is in front of the gateway send the country, or the pods look it up", "maxmind-edition-ids", "maxmind-license-key", "maxmind-mirror", "maxmind-retries-count", "maxmind-retries-timeout")
	refuse("", "The status of an Ingress shows the addresses of the gateway's Service", "publish-status-address")
	refuse("false", "The status of an Ingress shows the addresses of the gateway's Service", "report-node-internal-ip-address")
	refuse("true", "Statuses are always written, and for claimed Ingresses only", "update-status")
	refuse("", "All namespaces are served: keep Ingresses apart by their class", "watch-namespace", "watch-namespace-selector")
	return out
}

// Judgement is what is to be said of an argument of the controller.
type Judgement struct {
	Flag    string // without hyphens
	Effect  dialect.Effect
	Message string
	Fix     string
}

// JudgeArgument says what becomes of an argument: Full, or Silent, where nothing has to be
// done. ok is false for what is no flag.
func JudgeArgument(arg string) (j Judgement, ok bool) {
	if !strings.HasPrefix(arg, "-") {
		return j, false
	}
	name, value, has := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if !has {
		value = "true"
	}
	j.Flag = name
	table := flags()
	i, found := slices.BinarySearchFunc(table, name, func(f Flag, name string) int { return strings.Compare(f.Key, name) })
	if !found {
		j.Effect, j.Message = dialect.Refused, fmt.Sprintf("ingress-nginx has no flag --%s", name)
		var names []string
		for _, f := range table {
			names = append(names, f.Key)
		}
		if near, found := dialect.Nearest(name, names); found {
			j.Fix = fmt.Sprintf("did you mean --%s?", near)
		}
		return j, true
	}
	f := &table[i]
	if value == f.Default || f.same != nil && f.same(value) {
		return j, true
	}
	j.Effect, j.Message, j.Fix = f.Effect, fmt.Sprintf("--%s is not read by Fairway", name), f.Text
	return j, true
}
