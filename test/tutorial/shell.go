package tutorial

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Shell is one bash in which commands run one after the other, so that a
// variable or a background job of one is there for the next.
type Shell struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	nonce string
}

// NewShell starts bash in dir with env added to the environment.
func NewShell(dir string, env ...string) (*Shell, error) {
	cmd := exec.Command("bash", "--norc", "--noprofile")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that Close ends its jobs, too
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.Close()
	s := &Shell{cmd: cmd, in: in, lines: make(chan string, 1024), nonce: fmt.Sprintf("--end-of-command-%d", os.Getpid())}
	go func() {
		defer close(s.lines)
		defer r.Close()
		for scan := bufio.NewScanner(r); scan.Scan(); {
			s.lines <- scan.Text()
		}
	}()
	return s, nil
}

// Run runs a command and returns what it printed and its exit status. The
// error says that it did not end in time; the shell is of no use then.
func (s *Shell) Run(ctx context.Context, command string) (output string, status int, err error) {
	// stdin is the script's: a command must not read it. A newline before the
	// mark keeps it on a line of its own whatever the command printed last.
	script := fmt.Sprintf("{ %s\n} </dev/null; printf '\\n%s %%d\\n' $?\n", command, s.nonce)
	if _, err := io.WriteString(s.in, script); err != nil {
		return "", 0, fmt.Errorf("write to shell: %w", err)
	}
	var out strings.Builder
	for {
		select {
		case <-ctx.Done():
			return out.String(), 0, fmt.Errorf("the command did not end: %w", ctx.Err())
		case line, ok := <-s.lines:
			if !ok {
				return out.String(), 0, fmt.Errorf("the shell ended")
			}
			if rest, ok := strings.CutPrefix(line, s.nonce+" "); ok {
				status, err = strconv.Atoi(rest)
				return strings.TrimSuffix(out.String(), "\n"), status, err
			}
			out.WriteString(line + "\n")
		}
	}
}

// Close ends the shell and everything that it started.
func (s *Shell) Close() {
	s.in.Close()
	group := -s.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // gone already: as wanted
	ended := make(chan struct{})
	go func() { s.cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-ended
	}
}
