package tutorial

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Step is one command of a page.
type Step struct {
	Line    int // where it stands in the page
	Command string
	Fails   bool
	Within  time.Duration // 0: not said
	Want    []string      // lines of output; nil: anything
}

var within = regexp.MustCompile(`\bwithin (\S+)`)

// ParsePage returns the steps of the console blocks of a Markdown page.
func ParsePage(text string) ([]Step, error) {
	var steps []Step
	inBlock, inOther := false, false
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		switch {
		case strings.HasPrefix(line, "```"):
			if inBlock || inOther {
				inBlock, inOther = false, false
			} else {
				inBlock = line == "```console"
				inOther = !inBlock
			}
		case !inBlock:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, Step{Line: n, Command: line[2:]})
		case len(steps) == 0:
			return nil, fmt.Errorf("line %d: output before the first command", n)
		case strings.HasPrefix(line, "> ") && steps[len(steps)-1].Want == nil:
			steps[len(steps)-1].Command += "\n" + line[2:]
		default:
			last := &steps[len(steps)-1]
			last.Want = append(last.Want, line)
		}
	}
	if inBlock {
		return nil, fmt.Errorf("the last console block does not end")
	}
	for i := range steps {
		if err := steps[i].readComment(); err != nil {
			return nil, fmt.Errorf("line %d: %w", steps[i].Line, err)
		}
	}
	return steps, nil
}

// readComment takes the remarks out of the comment that ends the command.
func (s *Step) readComment() error {
	_, comment, ok := strings.Cut(s.Command, " # ")
	if !ok {
		return nil
	}
	s.Fails = strings.HasPrefix(comment, "fails")
	if m := within.FindStringSubmatch(comment); m != nil {
		d, err := time.ParseDuration(strings.TrimRight(m[1], ".,:;"))
		if err != nil {
			return err
		}
		s.Within = d
	}
	return nil
}

// readers are the commands that change nothing and may be repeated.
var readers = regexp.MustCompile(`^((bin/)?kubectl (-n \S+ )?(get|describe|exec|logs|wait|rollout status)|curl|bash|ask|all)\b`)

// Reads reports whether the command may be repeated. One that goes on in the
// background may not.
func (s *Step) Reads() bool {
	command, _, _ := strings.Cut(s.Command, " # ")
	return readers.MatchString(command) && !strings.HasSuffix(strings.TrimSpace(command), "&")
}
