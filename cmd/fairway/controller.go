package main

import (
	"context"
	"os"

	"github.com/fairway-net/fairway/internal/agent"
	"github.com/fairway-net/fairway/internal/cli"
	"github.com/fairway-net/fairway/internal/config"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/source/kube"
)

func runController(ctx context.Context, env *cli.Env, args []string) error {
	fs := cli.Flags("controller")
	dir := fs.String("config", config.DefaultDir, "read the settings from `DIR`")
	kubeconfig := fs.String("kubeconfig", "", "use `FILE` instead of the pod's service account")
	health := fs.String("health", ":8081", "serve /livez and /readyz on `ADDR`")
	gateway := fs.String("gateway-service", "fairway-gateway", "`NAME` of the Service whose addresses Ingresses show")
	var streams route.StreamMaps
	streamFlags(fs, &streams)
	if _, err := cli.Parse(env, fs, args, 0, 0); err != nil {
		return err
	}
	cfg, err := config.Load(*dir)
	if err != nil {
		return cli.Hint(err, "correct the ConfigMap fairway-config")
	}
	rest, err := kube.Connect(*kubeconfig, cfg.APIServer)
	if err != nil {
		return cli.Hint(err, "run it in a pod, or give --kubeconfig")
	}
	identity := env.Getenv("POD_NAME")
	if identity == "" {
		if identity, err = os.Hostname(); err != nil {
			return err
		}
	}
	namespace := env.Getenv("POD_NAMESPACE")
	if namespace == "" {
		namespace = "fairway-system"
	}
	return agent.RunController(ctx, agent.ControllerOptions{
		Config: cfg, Rest: rest, Namespace: namespace, Identity: identity, Gateway: *gateway, Streams: streams, Health: *health, Log: cli.Logger(env),
	})
}
