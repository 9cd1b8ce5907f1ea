// Command fairway-kube is the pinned upstream Kubernetes, etcd and containerd
// in one program. It holds nothing of Fairway: `fairway up` starts it under
// the name of a component ("kubelet") or with that name as first argument
// ("fairway-kube kubelet …"), and from there on it is that component, with the
// flags of its own documentation.
//
// One program instead of seven because they share most of their code: one
// file of 150 MB in place of 600, and pages that all of them share in memory.
// Two are programs of their own: the containerd shim (cmd/containerd-shim-runc-v2),
// whose start protocol reads the output of a second copy of itself, and
// kubectl (cmd/kubectl), which no node runs.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	containerd "github.com/containerd/containerd/v2/cmd/containerd/command"
	ctr "github.com/containerd/containerd/v2/cmd/ctr/app"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric
)

// components maps the name of a component to its main function, which reads
// os.Args as the stand-alone program would.
func components() map[string]func() {
	return map[string]func(){
		"etcd":                    func() { etcdmain.Main(os.Args) },
		"kube-apiserver":          func() { runCobra(apiserver.NewAPIServerCommand()) },
		"kube-controller-manager": func() { runCobra(controllermanager.NewControllerManagerCommand()) },
		"kube-scheduler":          func() { runCobra(scheduler.NewSchedulerCommand()) },
		"kubelet":                 func() { runCobra(kubelet.NewKubeletCommand(context.Background())) },
		"containerd":              func() { exitOn("containerd", containerd.App().Run(os.Args)) },
		"ctr":                     func() { exitOn("ctr", ctr.New().Run(os.Args)) },
	}
}

func main() {
	table := components()
	name := filepath.Base(os.Args[0])
	run := table[name]
	if run == nil && len(os.Args) > 1 {
		name = os.Args[1]
		run = table[name]
		os.Args = append([]string{name}, os.Args[2:]...)
	}
	if run == nil {
		fmt.Fprintf(os.Stderr, "usage: fairway-kube COMPONENT [flags]\ncomponents: %s\n", strings.Join(names(table), ", "))
		os.Exit(2)
	}
	run()
}

func names(table map[string]func()) []string {
	var out []string
	for name := range table {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

func runCobra(cmd *cobra.Command) { os.Exit(cli.Run(cmd)) }

func exitOn(name string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
