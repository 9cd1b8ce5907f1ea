// Package cli is the little that all commands share: the injected
// environment, flag parsing that allows flags after arguments, and errors
// that carry a hint. It knows nothing of what the commands do.
package cli

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Env is what a command may touch of its surroundings; tests give their own.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string

	Usage string // the usage line of the running command
	Short string // its one-line description
}

// OSEnv is the environment of the process.
func OSEnv() *Env {
	return &Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
}

var (
	// ErrHelp says that help was asked for and printed.
	ErrHelp = errors.New("help printed")
	// ErrNo says that the command's answer is "no" and has been printed
	// (a failed check, a denied flow): exit code 1 without a message.
	ErrNo = errors.New("answer is no")
)

// Flags returns an empty flag set for Parse.
func Flags(name string) *flag.FlagSet {
	return flag.NewFlagSet(name, flag.ContinueOnError)
}

// Parse parses args with fs, allowing flags after positional arguments, and
// returns the positional ones. Everything after "--" is positional. Fewer than
// min or more than max (-1: no limit) positional arguments are an error.
func Parse(env *Env, fs *flag.FlagSet, args []string, min, max int) ([]string, error) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	var pos []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				printHelp(env, fs)
				return nil, ErrHelp
			}
			return nil, Hint(err, "usage: "+env.Usage)
		}
		rest := fs.Args()
		if len(rest) == 0 {
			break
		}
		if consumed := len(args) - len(rest); consumed > 0 && args[consumed-1] == "--" {
			pos = append(pos, rest...)
			break
		}
		pos = append(pos, rest[0])
		args = rest[1:]
	}
	if len(pos) < min {
		return nil, Hint(errors.New("too few arguments"), "usage: "+env.Usage)
	}
	if max >= 0 && len(pos) > max {
		return nil, Hint(fmt.Errorf("unexpected argument %q", pos[max]), "usage: "+env.Usage)
	}
	return pos, nil
}

func printHelp(env *Env, fs *flag.FlagSet) {
	fmt.Fprintf(env.Stdout, "%s.\n\nUsage: %s\n", env.Short, env.Usage)
	first := true
	fs.VisitAll(func(f *flag.Flag) {
		if first {
			fmt.Fprintln(env.Stdout, "\nFlags:")
			first = false
		}
		kind, text := flag.UnquoteUsage(f)
		dash := "--"
		if len(f.Name) == 1 {
			dash = "-"
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			text += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		fmt.Fprintf(env.Stdout, "  %-26s %s\n", strings.TrimSpace(dash+f.Name+" "+kind), text)
	})
}

// hinted is an error with advice for the person who reads it.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// Hint adds to err one line that tells what to do about it.
func Hint(err error, hint string) error { return &hinted{err, hint} }

// HintOf returns the innermost hint of err, or "".
func HintOf(err error) string {
	hint := ""
	for h := (*hinted)(nil); errors.As(err, &h); err = h.err {
		hint = h.hint
	}
	return hint
}

// PrintError writes err as people read it: what failed, then what to do.
func PrintError(w io.Writer, err error) {
	fmt.Fprintf(w, "fairway: error: %v\n", err)
	if hint := HintOf(err); hint != "" {
		fmt.Fprintf(w, "fairway: hint: %s\n", hint)
	}
}

// exitError carries the exit code of a program that was run for the user.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// Exit makes the process end with code, as `fairway node exec` must.
func Exit(code int) error { return exitError{code} }

// ExitCode returns the process's exit code for err, and whether to end without
// a message: 2 with a message, unless Exit made the error.
func ExitCode(err error) (code int, quiet bool) {
	var e exitError
	if errors.As(err, &e) {
		return e.code, true
	}
	return 2, false
}

// Output is the value of a -o flag: "" for people, "json" for machines.
type Output string

func (o *Output) String() string { return string(*o) }

// Set accepts "json" and "".
func (o *Output) Set(s string) error {
	if s != "" && s != "json" {
		return fmt.Errorf("unknown format %q: only json is known", s)
	}
	*o = Output(s)
	return nil
}

// PrintJSON writes v indented, ending in a newline.
func PrintJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
