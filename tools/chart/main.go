// Command chart renders the Helm chart charts/fairway with its default values
// to deploy/fairway.yaml, the manifest that `kubectl apply` and `fairway up`
// use. With -check it changes nothing and fails if the file is not fresh. With
// -values it prints what the chart renders to with those values, for those who
// have no Helm.
//
// It is `helm template` and no more, made of Helm's own library: the schema of
// the values is validated, and the documents come out in the order in which
// Helm would install them.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
)

const header = "# Rendered from charts/fairway by `make generate`. Do not edit.\n"

func main() {
	check := flag.Bool("check", false, "only say whether the file is fresh")
	root := flag.String("root", "..", "root of the repository")
	values := flag.String("values", "", "print the chart rendered with the values of this `FILE`")
	flag.Parse()
	err := error(nil)
	if *values != "" {
		err = show(*root, *values)
	} else {
		err = run(*root, *check)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	want, err := render(filepath.Join(root, "charts", "fairway"), nil)
	if err != nil {
		return err
	}
	file := filepath.Join(root, "deploy", "fairway.yaml")
	if !check {
		return os.WriteFile(file, want, 0o644)
	}
	have, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%s is not what charts/fairway renders to: run `make generate`", file)
	}
	return nil
}

// show prints the chart rendered with the values of a file.
func show(root, file string) error {
	values, err := chartutil.ReadValuesFile(file)
	if err != nil {
		return fmt.Errorf("read values: %w", err)
	}
	text, err := render(filepath.Join(root, "charts", "fairway"), values)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

// render is `helm template fairway DIR --namespace fairway-system` with values
// over the defaults.
func render(dir string, values map[string]any) ([]byte, error) {
	chart, err := loader.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("load chart: %w", err)
	}
	release := chartutil.ReleaseOptions{Name: "fairway", Namespace: "fairway-system", IsInstall: true, Revision: 1}
	all, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, fmt.Errorf("check values: %w", err)
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	for name := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			delete(files, name)
		}
	}
	_, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, fmt.Errorf("sort manifests: %w", err)
	}
	out := bytes.NewBufferString(header)
	for _, m := range manifests {
		fmt.Fprintf(out, "---\n%s\n", strings.TrimSpace(m.Content))
	}
	return out.Bytes(), nil
}
