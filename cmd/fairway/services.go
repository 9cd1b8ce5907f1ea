package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/report"
	"github.com/fairway-net/fairway/internal/source/kube"
	"github.com/fairway-net/fairway/internal/state"
)

// agentPort is where agents serve what `fairway services` asks for, on loopback.
const agentPort = 9465

func runServices(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("services")
	kubeconfig := fs.String("kubeconfig", "", "use `FILE` (default $KUBECONFIG, then ~/.kube/config)")
	namespace := fs.String("n", "", "`NAMESPACE` of the Services (default with NAME: default; without: all)")
	node := fs.String("node", "", "show what clients on and around `NODE` get, and its kernel only (default: the first node, all kernels)")
	var output cli.Output
	fs.Var(&output, "o", "`json` for machines")
	pos, err := cli.Parse(env, fs, args, 0, 1)
	if err != nil {
		return err
	}
	name := ""
	if len(pos) > 0 {
		if name = pos[0]; *namespace == "" {
			*namespace = "default"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	q := servicesQuery{env: env, kubeconfig: *kubeconfig, namespace: *namespace, name: name, node: *node}
	result, err := q.ask(ctx)
	if err == nil && result.differs() {
		// What has changed a moment ago may be on its way to the kernel.
		time.Sleep(time.Second)
		result, err = q.ask(ctx)
	}
	if err != nil {
		return err
	}
	switch {
	case output == "json":
		err = cli.PrintJSON(env.Stdout, result)
	case name != "":
		report.WriteService(env.Stdout, &result.Services[0])
	default:
		report.WriteList(env.Stdout, result.Services)
		report.WriteHostPorts(env.Stdout, result.HostPorts)
		report.WriteStale(env.Stdout, result.Stale)
	}
	if err == nil && result.differs() {
		err = cli.ErrNo
	}
	return err
}

// servicesResult is the output for machines.
type servicesResult struct {
	Services  []report.Service       `json:"services"`
	HostPorts []report.HostPort      `json:"hostPorts,omitempty"` // without NAME
	Stale     []report.KernelVerdict `json:"stale,omitempty"`     // what kernels hold for no Service
}

func (r *servicesResult) differs() bool {
	return len(r.Stale) > 0 || slices.ContainsFunc(r.Services, func(s report.Service) bool {
		return slices.ContainsFunc(s.Kernel, func(k report.KernelVerdict) bool { return !k.Agrees() })
	})
}

type servicesQuery struct {
	env                               *cli.Env
	kubeconfig, namespace, name, node string
}

// ask reads the objects from the API server and the kernels from the agents.
func (q *servicesQuery) ask(ctx context.Context) (*servicesResult, error) {
	store := state.New()
	o := q.options()
	if err := readObjects(ctx, q.env, q.kubeconfig, "is the cluster up, and may you read it? give --kubeconfig FILE", &o, store); err != nil {
		return nil, err
	}
	snap := store.Snapshot()
	if q.name != "" && snap.Service(model.Name{Namespace: q.namespace, Name: q.name}) == nil {
		return nil, cli.Hint(fmt.Errorf("there is no Service %s/%s", q.namespace, q.name), "give its namespace with -n, or ask without a name for the list")
	}
	seenFrom := q.node
	var names []string
	for n := range snap.Nodes.All() {
		names = append(names, n)
	}
	switch {
	case len(names) == 0:
		return nil, errors.New("the cluster has no nodes")
	case seenFrom == "":
		seenFrom = names[0]
	case !slices.Contains(names, seenFrom):
		return nil, cli.Hint(fmt.Errorf("there is no node %q", seenFrom), "nodes are "+strings.Join(names, ", "))
	default:
		names = []string{seenFrom}
	}
	nodes := q.askNodes(ctx, &o, snap, names)
	match := func(n model.Name) bool {
		return (q.namespace == "" || n.Namespace == q.namespace) && (q.name == "" || n.Name == q.name)
	}
	r := &servicesResult{Services: report.Services(snap, seenFrom, nodes, match)}
	if q.name == "" {
		r.HostPorts = report.HostPorts(nodes, match)
	}
	if q.namespace == "" { // else snap has not all Services
		r.Stale = report.Stale(snap, nodes)
	}
	return r, nil
}

// options says what to read: no more than the answer needs.
func (q *servicesQuery) options() kube.Options {
	o := kube.Options{
		Kinds:     []model.Kind{model.KindService, model.KindEndpointSlice, model.KindNode, model.KindPod},
		Namespace: map[model.Kind]string{model.KindService: q.namespace, model.KindEndpointSlice: q.namespace},
		Labels:    map[model.Kind][]string{model.KindPod: {"app.kubernetes.io/name=fairway,app.kubernetes.io/component=agent"}},
		Fields:    map[model.Kind]string{},
	}
	if q.name != "" {
		o.Fields[model.KindService] = "metadata.name=" + q.name
		o.Labels[model.KindEndpointSlice] = []string{"kubernetes.io/service-name=" + q.name}
	}
	return o
}

// askNodes asks the agents of all nodes, several at a time.
func (q *servicesQuery) askNodes(ctx context.Context, api *kube.Options, snap *state.Snapshot, names []string) []report.Node {
	agents := map[string]model.Name{}
	for _, p := range snap.Pods.All() {
		if !p.Done && !p.Deleting || agents[p.Node] == (model.Name{}) {
			agents[p.Node] = p.Name
		}
	}
	nodes := make([]report.Node, len(names))
	var wg sync.WaitGroup
	turns := make(chan struct{}, 8)
	for i, name := range names {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
			defer cancel()
			n, err := q.askNode(ctx, api, agents[name])
			if err != nil {
				n = &report.Node{Error: err.Error()}
			}
			n.Node = name
			nodes[i] = *n
		})
	}
	wg.Wait()
	return nodes
}

func (q *servicesQuery) askNode(ctx context.Context, api *kube.Options, agent model.Name) (*report.Node, error) {
	if agent == (model.Name{}) {
		return nil, errors.New("no agent runs on it")
	}
	pod, err := kube.DialPod(ctx, api.Rest, agent)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return pod.Dial(agentPort) }}}
	path := "/services"
	if q.name != "" {
		path += "?name=" + url.QueryEscape(q.namespace+"/"+q.name)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://agent:%d%s", agentPort, path), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return nil, fmt.Errorf("the agent says %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	n := &report.Node{}
	if err := json.NewDecoder(resp.Body).Decode(n); err != nil {
		return nil, fmt.Errorf("decode the agent's answer: %w", err)
	}
	return n, nil
}
