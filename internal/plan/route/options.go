package route

import (
	"net/netip"
	"regexp"

	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Options are what holds for all requests.
type Options struct {
	UseForwardedHeaders bool           // X-Forwarded-* of clients is believed
	TrustedProxies      []netip.Prefix // of these only; nil: of all
	ForwardedForHeader  string         // has the client's address
	FullForwardedFor    bool           // it is appended to instead of replaced
	UseProxyProtocol    bool
	RedirectCode        int    // of redirects to TLS
	HSTS                string // Strict-Transport-Security on responses over TLS; "": none
	ServerHeader        bool   // endpoints' header Server is passed on
	Underscores         bool   // headers with an underscore are passed on
	OriginalURI         bool   // endpoints get X-Original-URI
	NoTLS               []string
	Block               *Block           // nil: nobody
	Unlogged            []*regexp.Regexp // URIs of requests that are not in the access log
	Clients             nginx.Clients
	Log                 *nginx.LogFormat // of the access log; nil: as the gateway was started
	Tracing             nginx.Tracing
	Trace               *Trace             // of requests without a rule
	Compress            *nginx.Compression // nil: responses are passed on as they are
	TLSMin, TLSMax      uint16             // versions towards clients; 0: Go's
	RejectHandshake     bool               // for names that no Ingress has
	NoHTTP2             bool               // is not offered
}

// Block says who gets 403 everywhere.
type Block struct {
	Clients          []netip.Prefix
	Agents, Referers []*regexp.Regexp
}

// DefaultConfigMaps are where options are looked for; those of later ones win.
// The first is where ingress-nginx's chart puts them.
var DefaultConfigMaps = []model.Name{
	{Namespace: "ingress-nginx", Name: "ingress-nginx-controller"},
	{Namespace: "fairway-system", Name: "ingress-nginx-controller"},
}

// readOptions reads the ConfigMaps that there are.
func readOptions(snap *state.Snapshot, names []model.Name) (*nginx.Options, []model.Rejected) {
	var refs []model.Ref
	var data []map[string]string
	for _, name := range names {
		if m, ok := snap.ConfigMaps.Get(name.String()); ok {
			refs = append(refs, model.Ref{Kind: model.KindConfigMap, Name: name})
			data = append(data, m.Data)
		}
	}
	return nginx.ParseOptions(refs, data)
}

// optionSource is where an option is written.
func (p *Planner) optionSource(snap *state.Snapshot, key string) Source {
	ref := model.Ref{Kind: model.KindConfigMap}
	for _, name := range p.params.ConfigMaps {
		if m, ok := snap.ConfigMaps.Get(name.String()); ok && m.Data[key] != "" {
			ref.Name = name
		}
	}
	return Source{ref, "data[" + key + "]"}
}

func newOptions(o *nginx.Options) *Options {
	out := &Options{UseForwardedHeaders: o.ForwardedHeaders, TrustedProxies: o.Trusted, ForwardedForHeader: o.ForwardedFor, FullForwardedFor: o.FullForwardedFor,
		UseProxyProtocol: o.ProxyProtocol, RedirectCode: o.RedirectCode, ServerHeader: o.ServerHeader, Underscores: o.Underscores, OriginalURI: o.OriginalURI, NoTLS: o.NoTLS,
		Unlogged: o.Unlogged, Clients: o.Clients, TLSMin: o.TLSMin, TLSMax: o.TLSMax, RejectHandshake: o.RejectHandshake, NoHTTP2: o.NoHTTP2, Log: o.Log, Tracing: o.Tracing, Trace: trace(&o.Base.Trace)}
	if o.Compress.Gzip.On || o.Compress.Brotli.On {
		out.Compress = &o.Compress
	}
	if o.HSTS {
		out.HSTS = "max-age=" + o.HSTSAge
		if o.HSTSSub {
			out.HSTS += "; includeSubDomains"
		}
		if o.HSTSPreload {
			out.HSTS += "; preload"
		}
	}
	if o.BlockCIDRs != nil || o.BlockAgents != nil || o.BlockReferers != nil {
		out.Block = &Block{o.BlockCIDRs, o.BlockAgents, o.BlockReferers}
	}
	return out
}

// Believes reports whether headers of a peer about the client count.
func (o *Options) Believes(peer netip.Addr) bool {
	if !o.UseForwardedHeaders || o.TrustedProxies == nil {
		return o.UseForwardedHeaders
	}
	for _, p := range o.TrustedProxies {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}
