package tutorial

import (
	"regexp"
	"strings"
)

// placeholders are what may stand in a line of expected output. Any other
// word in angle brackets, such as kubectl's <none>, stands for itself.
var placeholders = map[string]string{
	"<ip>":   `(?:\d+\.\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f:]+)`,
	"<n>":    `\d+`,
	"<age>":  `(?:\d+[smhd])+`,
	"<id>":   `[a-z0-9]+(?:-[a-z0-9]+)*`,
	"<time>": `\d+(?:\.\d+)?s`,
	"<any>":  `\S.*?`,
}

var placeholder = regexp.MustCompile(`<[a-z]+>`)

// Match compares output with the lines of a page.
func Match(want []string, output string) bool {
	have := strings.Split(strings.TrimRight(output, "\n"), "\n")
	for len(want) > 0 && strings.TrimSpace(want[len(want)-1]) == "" {
		want = want[:len(want)-1]
	}
	return matchLines(want, have)
}

func matchLines(want, have []string) bool {
	if len(want) == 0 {
		return len(have) == 0
	}
	if strings.TrimSpace(want[0]) == "..." {
		for i := 0; i <= len(have); i++ {
			if matchLines(want[1:], have[i:]) {
				return true
			}
		}
		return false
	}
	return len(have) > 0 && matchLine(want[0], have[0]) && matchLines(want[1:], have[1:])
}

func matchLine(want, have string) bool {
	want, have = strings.Join(strings.Fields(want), " "), strings.Join(strings.Fields(have), " ")
	var pattern strings.Builder
	pattern.WriteString("^")
	for want != "" {
		at := placeholder.FindStringIndex(want)
		if at == nil {
			pattern.WriteString(regexp.QuoteMeta(want))
			break
		}
		pattern.WriteString(regexp.QuoteMeta(want[:at[0]]))
		word := want[at[0]:at[1]]
		if p, ok := placeholders[word]; ok {
			pattern.WriteString(p)
		} else {
			pattern.WriteString(regexp.QuoteMeta(word))
		}
		want = want[at[1]:]
	}
	pattern.WriteString("$")
	return regexp.MustCompile(pattern.String()).MatchString(have)
}
