package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/fairway-net/fairway/internal/agent"
	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/cni"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/source/kube"
)

func runAgent(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("agent")
	dir := fs.String("config", config.DefaultDir, "read the settings from `DIR`")
	kubeconfig := fs.String("kubeconfig", "", "use `FILE` instead of the pod's service account")
	node := fs.String("node", env.Getenv("NODE_NAME"), "`NAME` of the Node (default $NODE_NAME)")
	health := fs.String("health", "127.0.0.1:9465", "serve /livez, /readyz and /metrics on `ADDR`")
	nodeHealth := fs.String("node-health", ":10256", "answer load balancers that ask about the node on `ADDR`")
	proxyMode := fs.String("proxy-mode", "127.0.0.1:10249", "answer /proxyMode as kube-proxy does on `ADDR`")
	bpffs := fs.String("bpf", "/sys/fs/bpf/fairway", "pin maps and links below `DIR`")
	records := fs.String("records", "/run/fairway/pods", "remember attached pods in `DIR`")
	keeper := fs.String("dns-keeper", "/run/fairway/dns/keeper.sock", "keep the sockets of this node's DNS server, which comes to `SOCKET`")
	binDir := fs.String("cni-bin", "/opt/cni/bin", "install the CNI plugin in `DIR`")
	confDir := fs.String("cni-conf", "/etc/cni/net.d", "install the CNI configuration in `DIR`")
	if _, err := cli.Parse(env, fs, args, 0, 0); err != nil {
		return err
	}
	if *node == "" {
		return cli.Hint(errors.New("the Node's name is not known"), "set NODE_NAME or give --node")
	}
	cfg, err := config.Load(*dir)
	if err != nil {
		return cli.Hint(err, "correct the ConfigMap fairway-config")
	}
	rest, err := kube.Connect(*kubeconfig, cfg.APIServer)
	if err != nil {
		return cli.Hint(err, "run it in a pod, or give --kubeconfig")
	}
	program, err := pluginProgram()
	if err != nil {
		return err
	}
	return agent.RunNode(ctx, agent.NodeOptions{
		Config: cfg, Rest: rest, Node: *node, Socket: cni.Socket, Records: *records, Keeper: *keeper, BPF: *bpffs, Health: *health, NodeHealth: *nodeHealth, ProxyMode: *proxyMode,
		Plugin: agent.Plugin{Program: program, BinDir: *binDir, ConfigDir: *confDir}, Log: cli.Logger(env),
	})
}

// pluginProgram returns the small plugin beside this executable, or, where an
// image does without it, this executable, which serves as well but starts slower.
func pluginProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if small := filepath.Join(filepath.Dir(self), "fairway-cni"); exists(small) {
		return small, nil
	}
	return self, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
