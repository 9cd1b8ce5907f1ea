package model

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
