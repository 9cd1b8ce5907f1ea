package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
)

// keepFailures lets a spec that fails leave a folder below CONFORMANCE_FAILED:
// what the cluster looked like before the spec's objects are removed, and what
// the spec said.
func keepFailures() {
	ginkgo.JustAfterEach(func(ctx ginkgo.SpecContext) {
		if r := ginkgo.CurrentSpecReport(); r.Failed() {
			if dir := failureDir(r); dir != "" {
				dump(dir)
			}
		}
	})
	ginkgo.ReportAfterEach(func(r ginkgo.SpecReport) {
		if !r.Failed() {
			return
		}
		if dir := failureDir(r); dir != "" {
			text := r.FullText() + "\n\n" + r.Failure.Message + "\n" + r.Failure.Location.String() + "\n\n" + r.CapturedGinkgoWriterOutput + "\n" + r.CapturedStdOutErr
			os.WriteFile(filepath.Join(dir, "spec.log"), []byte(text), 0o644)
		}
	})
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9]+`)

// failureDir makes and returns the folder of a spec, "" if there is none to be.
func failureDir(r ginkgo.SpecReport) string {
	root := os.Getenv("CONFORMANCE_FAILED")
	if root == "" {
		return ""
	}
	name := strings.Trim(notInNames.ReplaceAllString(strings.TrimPrefix(r.FullText(), "[sig-network] "), "-"), "-")
	dir := filepath.Join(root, name[:min(len(name), 120)])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ""
	}
	return dir
}

// dumps are the commands whose output helps, by file. Those that this version
// of Fairway does not have leave their error there.
var dumps = []struct{ file, command string }{
	{"events.txt", "kubectl get events -A --sort-by=.lastTimestamp"},
	{"objects.txt", "kubectl get nodes,pods,services,endpointslices,networkpolicies -A -o wide"},
	{"services.yaml", "kubectl get services,endpointslices -A -o yaml"},
	{"fairway-services.txt", "fairway services --name $CONFORMANCE_CLUSTER"},
	{"fairway-status.txt", "fairway status --name $CONFORMANCE_CLUSTER"},
	{"fairway-pods.log", "for p in $(kubectl get pods -A -l app.kubernetes.io/name=fairway -o jsonpath='{range .items[*]}{.metadata.namespace}/{.metadata.name} {end}'); do " +
		"echo \"== $p\"; kubectl logs -n ${p%/*} ${p#*/} --tail=500 --all-containers; done"},
}

// dump runs each command on its own and not for long: the spec's objects are
// kept while it does.
func dump(dir string) {
	for _, d := range dumps {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		cmd := exec.CommandContext(ctx, "sh", "-c", d.command)
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("CONFORMANCE_BIN")+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			out = fmt.Appendf(out, "\n%s: %v\n", d.command, err)
		}
		os.WriteFile(filepath.Join(dir, d.file), out, 0o644)
	}
}
