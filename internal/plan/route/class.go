package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// verdict says whose an Ingress is.
type verdict uint8

const (
	foreign verdict = iota // another controller's: not our business
	claimed
	orphan // of a class that nobody has: rejected
)

// classify decides whether ing is ours. As in ingress-nginx the field is looked
// at first, then the older annotation, then the cluster's default class. The
// API server gives an Ingress without a class the default one when it is
// created; here this also holds for those that are older than the class.
func classify(snap *state.Snapshot, p *Params, ing *model.Ingress) (verdict, []model.Rejected) {
	switch {
	case ing.ClassName != "":
		if v := classNamed(snap, p, ing.ClassName); v != orphan {
			return v, nil
		}
		return orphan, []model.Rejected{unknownClass(snap, p, ing, "spec.ingressClassName", ing.ClassName)}
	case ing.ClassAnnotation != "":
		if v := classNamed(snap, p, ing.ClassAnnotation); v != orphan {
			return v, nil
		}
		// Other controllers take any text in the annotation without an
		// IngressClass; only what looks like a slip of the pen is worth a word.
		if _, near := dialect.Nearest(ing.ClassAnnotation, ourClasses(snap, p)); !near {
			return foreign, nil
		}
		return orphan, []model.Rejected{unknownClass(snap, p, ing, "metadata.annotations[kubernetes.io/ingress.class]", ing.ClassAnnotation)}
	}
	if c := defaultClass(snap); c != nil && slices.Contains(p.Controllers, c.Controller) {
		return claimed, nil
	}
	return foreign, nil
}

func classNamed(snap *state.Snapshot, p *Params, name string) verdict {
	if c, ok := snap.IngressClasses.Get(name); ok {
		if slices.Contains(p.Controllers, c.Controller) {
			return claimed
		}
		return foreign
	}
	if slices.Contains(p.Names, name) {
		return claimed
	}
	return orphan
}

// defaultClass returns the default class; of several, the newest, as the API
// server's admission does.
func defaultClass(snap *state.Snapshot) *model.IngressClass {
	var best *model.IngressClass
	for _, c := range snap.IngressClasses.All() {
		if c.Default && (best == nil || c.Created.After(best.Created)) {
			best = c
		}
	}
	return best
}

func ourClasses(snap *state.Snapshot, p *Params) []string {
	names := slices.Clone(p.Names)
	for name, c := range snap.IngressClasses.All() {
		if slices.Contains(p.Controllers, c.Controller) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func unknownClass(snap *state.Snapshot, p *Params, ing *model.Ingress, field, name string) model.Rejected {
	all := ourClasses(snap, p)
	for other := range snap.IngressClasses.All() {
		all = append(all, other)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	r := model.Rejected{Ref: refOf(ing), Field: field, Reason: "IngressClassNotFound",
		Message: fmt.Sprintf("there is no IngressClass %q, so no controller serves this Ingress", name)}
	if near, ok := dialect.Nearest(name, all); ok {
		r.Fix = fmt.Sprintf("did you mean %q?", near)
	} else {
		r.Fix = "the classes here are: " + strings.Join(all, ", ")
	}
	return r
}

func refOf(ing *model.Ingress) model.Ref {
	return model.Ref{Kind: model.KindIngress, Name: ing.Name, UID: ing.UID}
}
