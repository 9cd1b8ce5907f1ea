package tutorial

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		want, have string
		ok         bool
	}{
		{"a b", "a    b\n", true},
		{"a b", "a c", false},
		{"svc <none> <age>", "svc  <none>  2m10s", true},
		{"svc <none> <age>", "svc  <pending>  2m10s", false},
		{"svc <ip> 80/TCP", "svc <pending> 80/TCP", false},
		{"svc <ip> 80/TCP", "svc 198.18.16.3 80/TCP", true},
		{"pod/my-app-<id> deleted", "pod/my-app-5f7c9-x2x4l deleted", true},
		{"<n> my-app-<id>", "  997 my-app-5f7c9-x2x4l", true},
		{"1000 requests, 0 failed, <time>", "1000 requests, 0 failed, 1.5s", true},
		{"1000 requests, 0 failed, <time>", "1000 requests, 1 failed, 1.5s", false},
		{"a\n...\nz", "a\nz", true},
		{"a\n...\nz", "a\nb\nc\nz", true},
		{"a\n...\nz", "a\nb\nc", false},
		{"a\n...", "a\nb", true},
		{"a", "a\nb", false},
		{"a\nb", "a", false},
		{"a\n", "a", true},
		{"x.y", "xzy", false},
	} {
		if got := Match(strings.Split(tt.want, "\n"), tt.have); got != tt.ok {
			t.Errorf("Match(%q, %q) = %t", tt.want, tt.have, got)
		}
	}
}

const page = "# A page\n" +
	"```yaml\n$ not a command\n```\n" +
	"```console\n$ X=2\n$ echo $((X+1))\n3\n```\n" +
	"Then:\n" +
	"```console\n$ printf 'a\\nb\\n' |\n> cat\na\nb\n\n$ sh -c 'exit 3' # fails: as it should\n$ bash -c 'echo 1' # within 1s\n1\n```\n"

func TestParsePage(t *testing.T) {
	steps, err := ParsePage(page)
	if err != nil || len(steps) != 5 {
		t.Fatalf("got %d steps, %v", len(steps), err)
	}
	if s := steps[1]; s.Line != 7 || s.Command != "echo $((X+1))" || len(s.Want) != 1 || s.Reads() {
		t.Errorf("got %+v", s)
	}
	if s := steps[2]; s.Command != "printf 'a\\nb\\n' |\ncat" {
		t.Errorf("got %+v", s)
	}
	if !steps[3].Fails || steps[3].Want != nil {
		t.Errorf("got %+v", steps[3])
	}
	if s := steps[4]; s.Within != time.Second || !s.Reads() {
		t.Errorf("got %+v", s)
	}
}

func TestReads(t *testing.T) {
	for command, want := range map[string]bool{
		"kubectl get pods":                  true,
		"kubectl -n tiers exec x -- /echo":  true,
		"kubectl exec client -- /echo x &":  false,
		"kubectl apply -f x":                false,
		"curl http://x # fails: of nothing": true,
		"POD=$(kubectl get pod)":            false,
	} {
		if got := (&Step{Command: command}).Reads(); got != want {
			t.Errorf("%s: %t", command, got)
		}
	}
}

func TestRun(t *testing.T) {
	run := func(page string) error {
		t.Helper()
		steps, err := ParsePage(page)
		if err != nil {
			t.Fatal(err)
		}
		sh, err := NewShell(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer sh.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return Run(ctx, sh, steps, t.Logf)
	}
	if err := run(page); err != nil {
		t.Error(err)
	}
	for name, tt := range map[string]struct{ page, want string }{
		"other output":    {"```console\n$ echo a\nb\n```", "the page shows:\nb\nit printed:\na"},
		"failure":         {"```console\n$ false\n```", "exit status 1"},
		"no failure":      {"```console\n$ true # fails\n```", "succeeded, but should fail"},
		"line is named":   {"```console\n$ true\n$ false\n```", "line 3: $ false"},
		"deadline":        {"```console\n$ bash -c 'date +%s%N' # within 200ms\n1\n```", "the page shows:\n1"},
		"shell is closed": {"```console\n$ exit\n```", "the shell ended"},
	} {
		if err := run(tt.page); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}
