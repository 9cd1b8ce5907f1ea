package migrate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/state"
)

// Report is the answer.
type Report struct {
	Controllers []Controller `json:"controllers,omitempty"` // those of ingress-nginx that were found
	Ingresses   []Ingress    `json:"ingresses"`
	Options     []Finding    `json:"options,omitempty"` // of the ConfigMap
	Foreign     int          `json:"foreign"`           // Ingresses of other classes, which are not looked at
	Summary     Summary      `json:"summary"`
}

// Summary counts Ingresses by the worst that is said of them.
type Summary struct {
	Works       int `json:"works"`
	Differs     int `json:"differs"`
	Unsupported int `json:"unsupported"`
}

// Ingress is what is said of one.
type Ingress struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	File      string    `json:"file,omitempty"`
	Line      int       `json:"line,omitempty"`
	Verdict   Verdict   `json:"verdict"`
	Works     []string  `json:"works,omitempty"` // annotations that do what they did
	Findings  []Finding `json:"findings,omitempty"`
}

// Verdict is how far something works.
type Verdict string

// The verdicts, from good to bad. Missing is for objects that are named but not
// among the manifests: they may well be in the cluster.
const (
	Works       Verdict = "works"
	Missing     Verdict = "missing"
	Differs     Verdict = "differs"
	Unsupported Verdict = "unsupported"
)

var severity = []Verdict{Works, Missing, Differs, Unsupported}

// Finding is one thing to know.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	Field   string  `json:"field"`
	Reason  string  `json:"reason,omitempty"`
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitempty"`
	Message string  `json:"message"`
	Fix     string  `json:"fix,omitempty"`
}

// Place says where a field of an object is written; zero values: nowhere.
type Place func(ref model.Ref, field string) (file string, line int)

// Make reports on the Ingresses in snap that Fairway would serve, and on those of programs
// that are ingress-nginx's controllers. partial says that snap holds only manifests, so that
// what is missing may be in the cluster.
func Make(snap *state.Snapshot, programs []model.Program, place Place, partial bool, now time.Time) *Report {
	plan := route.Make(snap, route.Params{}, now)
	r := &Report{Controllers: judgePrograms(programs)}
	byRef := map[model.Name][]model.Rejected{}
	for _, rejected := range plan.Rejected {
		if rejected.Ref.Kind == model.KindIngress {
			byRef[rejected.Ref.Name] = append(byRef[rejected.Ref.Name], rejected)
		} else {
			r.Options = append(r.Options, finding(rejected, place, partial))
		}
	}
	for _, ing := range snap.Ingresses.All() {
		served := plan.Serves(ing.Name)
		if !served && (byRef[ing.Name] == nil || partial && strange(byRef[ing.Name])) {
			r.Foreign++
			continue
		}
		r.Ingresses = append(r.Ingresses, judge(ing, served, byRef[ing.Name], place, partial))
	}
	slices.SortFunc(r.Ingresses, func(a, b Ingress) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	for i := range r.Ingresses {
		switch r.Ingresses[i].Verdict {
		case Unsupported:
			r.Summary.Unsupported++
		case Differs:
			r.Summary.Differs++
		default:
			r.Summary.Works++
		}
	}
	return r
}

// Supported reports whether nothing was found that Fairway does not do.
func (r *Report) Supported() bool {
	return r.Summary.Unsupported == 0 && len(r.Options) == 0 && !slices.ContainsFunc(r.Controllers, func(c Controller) bool {
		return slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.Verdict == Unsupported })
	})
}

// strange says that all that is wrong with an Ingress is a class that is not among the
// manifests, and is like none of ours: another controller's.
func strange(rejected []model.Rejected) bool {
	return !slices.ContainsFunc(rejected, func(r model.Rejected) bool {
		return r.Reason != "IngressClassNotFound" || strings.HasPrefix(r.Fix, "did you mean")
	})
}

// judge says what is to be said of one Ingress.
func judge(ing *model.Ingress, served bool, rejected []model.Rejected, place Place, partial bool) Ingress {
	ref := model.Ref{Kind: model.KindIngress, Name: ing.Name}
	out := Ingress{Namespace: ing.Namespace, Name: ing.Name.Name, Verdict: Works}
	out.File, out.Line = place(ref, "")
	told := map[string]bool{}
	for _, x := range rejected {
		told[x.Field] = true
		out.Findings = append(out.Findings, finding(x, place, partial))
	}
	for _, a := range nginx.Annotations() {
		key := nginx.Prefix + a.Key
		field := nginx.Field(key)
		if _, used := ing.Annotations[key]; !used || told[field] || !served {
			continue
		}
		if a.Effect != dialect.Partly {
			out.Works = append(out.Works, a.Key)
			continue
		}
		f := Finding{Verdict: Differs, Field: field, Message: a.Text}
		f.File, f.Line = place(ref, field)
		out.Findings = append(out.Findings, f)
	}
	slices.SortStableFunc(out.Findings, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Line, b.Line), strings.Compare(a.Field, b.Field)) })
	for _, f := range out.Findings {
		if slices.Index(severity, f.Verdict) > slices.Index(severity, out.Verdict) {
			out.Verdict = f.Verdict
		}
	}
	return out
}

func finding(r model.Rejected, place Place, partial bool) Finding {
	f := Finding{Verdict: Unsupported, Field: r.Field, Reason: r.Reason, Message: r.Message, Fix: r.Fix}
	if partial && strings.HasSuffix(r.Reason, "NotFound") && r.Reason != "IngressClassNotFound" && r.Reason != "ServicePortNotFound" {
		f.Verdict, f.Fix = Missing, "fine if it is in the cluster"
	}
	f.File, f.Line = place(r.Ref, r.Field)
	return f
}
