// Command kubectl is upstream's kubectl, unchanged, of the version that
// kube/go.mod pins. It is not part of fairway-kube because its packages spend
// 56 ms and 4 MB on initialisation alone, in every process they are linked into.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // exec and oidc credentials
)

func main() {
	// Verbosity is set before the command tree is built, because building it
	// already logs.
	if _, err := logs.GlogSetter(cmd.GetLogVerbosity(os.Args)); err != nil {
		util.CheckErr(err)
	}
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
