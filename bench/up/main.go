// Command up measures how long it takes from `fairway up` until the quick
// start answers through its Ingress, phase by phase, and how much memory all
// processes of the cluster use together (sum of proportional set sizes).
//
// It starts and removes a cluster of its own in each run and needs root and
// the binaries of `make build`.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/fairway-net/fairway/bench/record"
)

const (
	cluster  = "bench-up"
	limit    = 5 * time.Minute // for one run
	whole    = "fairway up to an answer through the Ingress"
	together = "all processes together"
)

func main() {
	runs := flag.Int("runs", 3, "how often to start a cluster")
	root := flag.String("root", "..", "root of the repository")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *root, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "bench-up:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string, runs int) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-up")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := bench{root: root, env: append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"), "CLUSTER="+cluster)}
	var set record.Set
	for i := range runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, runs)
		if err := b.once(ctx, &set); err != nil {
			return err
		}
	}
	set.WriteTable(os.Stdout)
	return set.WriteJSON(filepath.Join(root, "bench", "out"), "up")
}

type bench struct {
	root string
	env  []string
}

// once starts a cluster, measures, and removes it whatever happened.
func (b bench) once(ctx context.Context, set *record.Set) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer func() {
		_, downErr := b.command(context.WithoutCancel(ctx), "bin/fairway", "down", "--name", cluster)
		if err == nil {
			err = downErr
		}
	}()
	start := time.Now()
	if _, err := b.command(ctx, "bin/fairway", "up", "--name", cluster); err != nil {
		return err
	}
	up := time.Now()
	if _, err := b.command(ctx, "examples/quickstart.sh"); err != nil {
		return err
	}
	answered := time.Now()

	phases, err := readPhases()
	if err != nil {
		return err
	}
	for _, p := range phases {
		set.Add("fairway", p.Name, "time", "s", p.Millis/1000)
	}
	set.Add("fairway", "the quick start answers", "time", "s", answered.Sub(up).Seconds())
	set.Add("fairway", whole, "time", "s", answered.Sub(start).Seconds())
	return b.addMemory(ctx, set)
}

type phase struct {
	Name   string  `json:"name"`
	Millis float64 `json:"ms"`
}

// readPhases reads what `fairway up` noted of its own time.
func readPhases() ([]phase, error) {
	state := os.Getenv("FAIRWAY_STATE")
	if state == "" {
		state = "/var/lib/fairway"
	}
	text, err := os.ReadFile(filepath.Join(state, cluster, "up.json"))
	if err != nil {
		return nil, err
	}
	var up struct{ Phases []phase }
	if err := json.Unmarshal(text, &up); err != nil {
		return nil, fmt.Errorf("read up.json: %w", err)
	}
	return up.Phases, nil
}

// addMemory adds the proportional set size by program, largest first, and in
// total.
func (b bench) addMemory(ctx context.Context, set *record.Set) error {
	text, err := b.command(ctx, "bin/fairway", "status", "--name", cluster, "-o", "json")
	if err != nil {
		return err
	}
	var clusters []struct {
		Processes []struct {
			Name string `json:"name"`
			PSS  int64  `json:"pssKiB"`
		} `json:"processes"`
		PSS int64 `json:"pssKiB"`
	}
	if err := json.Unmarshal(text, &clusters); err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	if len(clusters) != 1 {
		return fmt.Errorf("read status: got %d clusters, want one", len(clusters))
	}
	status := clusters[0]
	byName := map[string]int64{}
	for _, p := range status.Processes {
		byName[p.Name] += p.PSS
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int { return int(byName[y] - byName[x]) })
	for _, name := range names {
		set.Add("fairway", name, "memory (PSS)", "MiB", float64(byName[name])/1024)
	}
	set.Add("fairway", together, "memory (PSS)", "MiB", float64(status.PSS)/1024)
	return nil
}

func (b bench) command(ctx context.Context, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.root, program), args...)
	cmd.Dir, cmd.Env = b.root, b.env
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", program, err, out.Bytes(), log.Bytes())
	}
	return out.Bytes(), nil
}
