// Package corefile reads the configuration of CoreDNS and says it in ours: each
// plugin is mapped, built in, or named as one that has no counterpart. It reads
// text and nothing else: no files, no environment, no includes.
package corefile

import (
	"fmt"
	"strings"
)

// Block is a server block: the directives for some zones.
type Block struct {
	Line  int
	Keys  []string // "corp.example:53"
	Lines []Directive
}

// Directive is one line of a block, with the lines of its own block if it has one.
type Directive struct {
	Line  int
	Words []string
	Lines []Directive
}

// Parse reads a Corefile.
func Parse(text string) ([]Block, error) {
	p := parser{}
	for i, line := range strings.Split(text, "\n") {
		words, err := split(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if len(words) > 0 {
			p.lines = append(p.lines, Directive{Line: i + 1, Words: words})
		}
	}
	var out []Block
	for len(p.lines) > 0 {
		head := p.lines[0]
		last := len(head.Words) - 1
		// A lone block may do without braces.
		if head.Words[last] != "{" {
			if len(out) > 0 {
				return nil, fmt.Errorf("line %d: want ZONE… {", head.Line)
			}
			out = append(out, Block{Line: head.Line, Keys: keys(head.Words)})
			p.lines = p.lines[1:]
			for len(p.lines) > 0 {
				d, err := p.directive()
				if err != nil {
					return nil, err
				}
				out[0].Lines = append(out[0].Lines, d)
			}
			return out, nil
		}
		p.lines = p.lines[1:]
		lines, err := p.block(head.Line)
		if err != nil {
			return nil, err
		}
		out = append(out, Block{Line: head.Line, Keys: keys(head.Words[:last]), Lines: lines})
	}
	return out, nil
}

// keys splits a block's zones, which commas may separate, too.
func keys(words []string) []string {
	return strings.FieldsFunc(strings.Join(words, " "), func(r rune) bool { return r == ',' || r == ' ' })
}

type parser struct{ lines []Directive }

// block reads until the brace that closes the one opened in line at.
func (p *parser) block(at int) ([]Directive, error) {
	var out []Directive
	for len(p.lines) > 0 {
		if w := p.lines[0].Words; w[0] == "}" {
			if len(w) > 1 {
				return nil, fmt.Errorf("line %d: unexpected %q after the closing brace", p.lines[0].Line, w[1])
			}
			p.lines = p.lines[1:]
			return out, nil
		}
		d, err := p.directive()
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return nil, fmt.Errorf("line %d: the block is never closed", at)
}

// directive reads one line, and its block if it opens one.
func (p *parser) directive() (d Directive, err error) {
	d = p.lines[0]
	p.lines = p.lines[1:]
	last := len(d.Words) - 1
	switch {
	case d.Words[0] == "}" || d.Words[0] == "{":
		return d, fmt.Errorf("line %d: unexpected %q", d.Line, d.Words[0])
	case d.Words[last] == "{":
		d.Words = d.Words[:last]
		d.Lines, err = p.block(d.Line)
	}
	return d, err
}

// split cuts a line into words; a word may be in double quotes, and # begins a
// comment at the start of a word.
func split(line string) ([]string, error) {
	var out []string
	for {
		line = strings.TrimLeft(line, " \t\r")
		switch {
		case line == "" || line[0] == '#':
			return out, nil
		case line[0] == '"':
			word, rest, ok := strings.Cut(line[1:], `"`)
			if !ok {
				return nil, fmt.Errorf("a quote is never closed")
			}
			out, line = append(out, word), rest
		default:
			n := strings.IndexAny(line, " \t\r")
			if n < 0 {
				n = len(line)
			}
			out, line = append(out, line[:n]), line[n:]
		}
	}
}
