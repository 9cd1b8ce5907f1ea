package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type podObject struct {
	object
	Spec struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Message    string            `json:"message"`
		Conditions []condition       `json:"conditions"`
		Containers []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type containerStatus struct {
	Name     string `json:"name"`
	Ready    bool   `json:"ready"`
	Restarts int    `json:"restartCount"`
	State    struct {
		Waiting *struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"waiting"`
	} `json:"state"`
}

// suspectPod returns the pod of Fairway that keeps the cluster from being
// ready, and what it has to say: why it waits, what it logged, or else what
// the scheduler says of it.
func (s *State) suspectPod() (name string, lines []string) {
	client, err := s.newAPI()
	if err != nil {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second) // the time for `up` is over
	defer cancel()
	var list struct {
		Items []*podObject `json:"items"`
	}
	if err := client.get(ctx, "/api/v1/pods?labelSelector=app.kubernetes.io/name%3Dfairway", &list); err != nil {
		return "", nil
	}
	unready := slices.DeleteFunc(list.Items, func(p *podObject) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c condition) bool { return c.Type == "Ready" && c.Status == "True" })
	})
	if len(unready) == 0 {
		return "", nil
	}
	// The one that was restarted most often has most to say.
	p := slices.MaxFunc(unready, func(a, b *podObject) int { return a.restarts() - b.restarts() })
	return p.Metadata.Namespace + "/" + p.Metadata.Name, s.complaints(p)
}

func (p *podObject) restarts() int {
	n := 0
	for _, c := range p.Status.Containers {
		n += c.Restarts
	}
	return n
}

func (s *State) complaints(p *podObject) []string {
	var out []string
	for _, c := range p.Status.Conditions {
		if c.Status != "True" && c.Message != "" {
			out = append(out, c.Message)
		}
	}
	if p.Status.Message != "" {
		out = append(out, p.Status.Message)
	}
	for _, c := range p.Status.Containers {
		if w := c.State.Waiting; w != nil {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s: %s %s", c.Name, w.Reason, w.Message)))
		}
	}
	// kubelet's own layout: NAMESPACE_POD_UID/CONTAINER/RESTARTS.log
	pattern := filepath.Join(s.nodeRoot(p.Spec.NodeName), "var/log/pods", p.Metadata.Namespace+"_"+p.Metadata.Name+"_*", "*", "*.log")
	logs, _ := filepath.Glob(pattern) // names hold no pattern characters
	for _, file := range logs[max(0, len(logs)-1):] {
		for _, line := range tail(file, 5) {
			// The CRI's format: time, stream, tag, text.
			if f := strings.SplitN(line, " ", 4); len(f) == 4 {
				line = f[3]
			}
			out = append(out, line)
		}
	}
	return slices.Compact(out)
}
