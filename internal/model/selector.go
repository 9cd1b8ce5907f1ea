package model

import (
	"slices"
	"sort"
	"strings"
)

// Matches reports whether labels satisfy s. Rules of meta/v1 LabelSelector: all
// requirements are ANDed; NotIn and DoesNotExist also match where the key is absent.
func (s *Selector) Matches(labels map[string]string) bool {
	for k, v := range s.MatchLabels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	for _, r := range s.MatchExpressions {
		if !r.matches(labels) {
			return false
		}
	}
	return true
}

func (r *Requirement) matches(labels map[string]string) bool {
	got, ok := labels[r.Key]
	switch r.Operator {
	case "In":
		return ok && slices.Contains(r.Values, got)
	case "NotIn":
		return !ok || !slices.Contains(r.Values, got)
	case "Exists":
		return ok
	case "DoesNotExist":
		return !ok
	}
	return false // the API refuses other operators; select nothing rather than too much
}

// Empty says that s selects everything.
func (s *Selector) Empty() bool { return len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0 }

// String is a canonical form: equal selectors print equally.
func (s *Selector) String() string {
	if s.Empty() {
		return "*"
	}
	var parts []string
	for k, v := range s.MatchLabels {
		parts = append(parts, k+"="+v)
	}
	for _, r := range s.MatchExpressions {
		values := slices.Clone(r.Values)
		sort.Strings(values)
		parts = append(parts, r.Key+" "+r.Operator+" ("+strings.Join(values, ",")+")")
	}
	sort.Strings(parts)
	return strings.Join(slices.Compact(parts), ",")
}
