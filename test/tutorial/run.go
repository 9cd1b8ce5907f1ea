package tutorial

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	patience   = 20 * time.Second // for the output of a command that reads
	longest    = 2 * time.Minute  // for one run of a command
	retryEvery = 50 * time.Millisecond
)

// Run runs the steps of a page in the shell until one is not as the page says.
// log gets every command before it runs.
func Run(ctx context.Context, sh *Shell, steps []Step, log func(format string, args ...any)) error {
	done := time.Now() // when the command before ended
	for _, s := range steps {
		log("line %d: $ %s", s.Line, s.Command)
		if err := s.run(ctx, sh, done); err != nil {
			return fmt.Errorf("line %d: $ %s\n%w", s.Line, s.Command, err)
		}
		done = time.Now()
	}
	return nil
}

func (s *Step) run(ctx context.Context, sh *Shell, since time.Time) error {
	deadline := since.Add(patience)
	if s.Within > 0 {
		deadline = since.Add(s.Within)
	}
	for {
		started := time.Now()
		limit, cancel := context.WithTimeout(ctx, longest)
		output, status, err := sh.Run(limit, s.Command)
		cancel()
		if err != nil {
			return fmt.Errorf("%w; it printed:\n%s", err, output)
		}
		err = s.check(output, status)
		switch {
		case err == nil && s.Within > 0 && started.After(deadline):
			return fmt.Errorf("as shown only after %v", started.Sub(since).Round(time.Millisecond))
		case err == nil:
			return nil
		case !s.Reads() || time.Now().After(deadline):
			return err
		}
		time.Sleep(retryEvery)
	}
}

// check compares one run with the page.
func (s *Step) check(output string, status int) error {
	switch {
	case s.Fails && status == 0:
		return fmt.Errorf("succeeded, but should fail; it printed:\n%s", output)
	case !s.Fails && status != 0:
		return fmt.Errorf("exit status %d; it printed:\n%s", status, output)
	case s.Want != nil && !Match(s.Want, output):
		return fmt.Errorf("the page shows:\n%s\nit printed:\n%s", strings.Join(s.Want, "\n"), output)
	}
	return nil
}
