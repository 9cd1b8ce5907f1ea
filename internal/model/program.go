package model

import "fmt"

// Program is what a container of a workload is started with.
type Program struct {
	Kind  string // of the workload: "Deployment"
	Name  Name   // of the workload
	Image string
	Words []Word // the command and its arguments
}

// Word is one word of a command line, and where it is written.
type Word struct {
	Text  string
	Field string // "spec.template.spec.containers[0].args[2]"
	File  string // "": in no file
	Line  int    // from 1
}

// NewProgram makes that of the nth container of a workload, in no file.
func NewProgram(kind string, name Name, n int, image string, command, args []string) Program {
	p := Program{Kind: kind, Name: name, Image: image}
	add := func(list string, words []string) {
		for i, text := range words {
			p.Words = append(p.Words, Word{Text: text, Field: fmt.Sprintf("spec.template.spec.containers[%d].%s[%d]", n, list, i)})
		}
	}
	add("command", command)
	add("args", args)
	return p
}
