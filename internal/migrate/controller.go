package migrate

import (
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
)

// Controller is what is said of a workload that runs ingress-nginx.
type Controller struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Works     []string  `json:"works,omitempty"` // flags that nothing has to be done about
	Findings  []Finding `json:"findings,omitempty"`
}

// judgePrograms says what becomes of the arguments of those that are ingress-nginx's controller.
func judgePrograms(programs []model.Program) (out []Controller) {
	for i := range programs {
		p := &programs[i]
		if !isController(p) {
			continue
		}
		c := Controller{Kind: p.Kind, Namespace: p.Name.Namespace, Name: p.Name.Name}
		for j := 0; j < len(p.Words); j++ {
			word := p.Words[j]
			text := word.Text
			if strings.HasPrefix(text, "--") && !strings.Contains(text, "=") && j+1 < len(p.Words) && !strings.HasPrefix(p.Words[j+1].Text, "-") {
				j++ // "--name value"
				text += "=" + p.Words[j].Text
			}
			c.judge(text, word)
		}
		out = append(out, c)
	}
	return out
}

func (c *Controller) judge(text string, word model.Word) {
	j, ok := nginx.JudgeArgument(text)
	switch {
	case !ok:
	case j.Effect == dialect.Full:
		c.Works = append(c.Works, "--"+j.Flag)
	default:
		f := Finding{Verdict: Differs, Field: word.Field, Message: j.Message, Fix: j.Fix, File: word.File, Line: word.Line}
		if j.Effect == dialect.Refused {
			f.Verdict = Unsupported
		}
		c.Findings = append(c.Findings, f)
	}
}

// isController tells ingress-nginx's controller by what it runs.
func isController(p *model.Program) bool {
	return strings.Contains(p.Image, "ingress-nginx/controller") ||
		slices.ContainsFunc(p.Words, func(w model.Word) bool { return strings.HasSuffix(w.Text, "/nginx-ingress-controller") })
}
