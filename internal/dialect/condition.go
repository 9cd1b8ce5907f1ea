package dialect

import "regexp"

// Condition is one on a field of the header or an argument of the query: that it is Value
// or matches Pattern, or, without either, that it is there.
type Condition struct {
	Name    string // of a header in any spelling, of an argument in this one
	Value   string
	Pattern *regexp.Regexp
}

// Accepts reports whether the condition holds for a field or an argument with this value.
func (c *Condition) Accepts(value string) bool {
	if c.Pattern != nil {
		return c.Pattern.MatchString(value)
	}
	return c.Value == "" || c.Value == value
}

// String writes the condition as in an annotation.
func (c Condition) String() string {
	switch {
	case c.Pattern != nil:
		return c.Name + "~" + c.Pattern.String()
	case c.Value != "":
		return c.Name + "=" + c.Value
	}
	return c.Name
}
