# Everything a developer does with this repository is one of these verbs.
# `make build` is incremental: the pinned Kubernetes (kube/) takes minutes the
# first time and is left alone afterwards until kube/ changes.

SHELL   := /bin/bash
BIN     := bin
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The variables that `kubectl version` and a node's kubeletVersion print.
KUBE    := v1.36.3
KUBEVER := k8s.io/component-base/version
KUBELD  := -s -w -X $(KUBEVER).gitVersion=$(KUBE) -X $(KUBEVER).gitMajor=1 -X $(KUBEVER).gitMinor=36 -X $(KUBEVER).gitTreeState=clean \
           -X k8s.io/client-go/pkg/version.gitVersion=$(KUBE) -X k8s.io/client-go/pkg/version.gitMajor=1 -X k8s.io/client-go/pkg/version.gitMinor=36 \
           -X github.com/containerd/containerd/v2/version.Version=v2.3.7
LD      := -s -w -X github.com/fairway-net/fairway/internal/version.Version=$(VERSION)
KUBESRC := $(shell find kube -name '*.go' -o -name 'go.mod' -o -name 'go.sum')
# Your KUBECONFIG is the one to add the cluster to, also under sudo.
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=KUBECONFIG,FAIRWAY_STATE)
# The name of the cluster for up and down.
CLUSTER ?= default
export CLUSTER
# Tests are built by you and run by root.
ASROOT  := $(if $(SUDO),-exec 'sudo --preserve-env env PATH=$(PATH)')

export CGO_ENABLED = 0
# The same flags everywhere: what one target has compiled, the next finds in the cache.
export GOFLAGS += -trimpath

.PHONY: help deps build fairway clang up down test faults lint generate bench bench-up bench-dns bench-http bench-services conformance conformance-quick clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' Makefile

build: $(BIN)/fairway-kube $(BIN)/kubectl $(BIN)/containerd-shim-runc-v2 fairway ## Build everything into bin/

fairway: ## Build only Fairway itself
	$(GO) build -ldflags '$(LD)' -o $(BIN)/ ./cmd/...

$(BIN)/fairway-kube: $(KUBESRC)
	cd kube && $(GO) build -ldflags '$(KUBELD)' -o ../$(BIN)/fairway-kube .

$(BIN)/kubectl: $(KUBESRC)
	cd kube && $(GO) build -ldflags '$(KUBELD)' -o ../$(BIN)/kubectl ./cmd/kubectl

$(BIN)/containerd-shim-runc-v2: $(KUBESRC)
	cd kube && $(GO) build -ldflags '-s -w' -o ../$(BIN)/containerd-shim-runc-v2 ./cmd/containerd-shim-runc-v2

deps: ## Install what the machine lacks (Debian, Ubuntu)
	@missing=; for pair in runc:runc curl:curl openssl:openssl ip:iproute2 nft:nftables dig:bind9-dnsutils; do \
	  PATH=$$PATH:/usr/sbin:/sbin command -v $${pair%:*} >/dev/null || missing="$$missing $${pair#*:}"; done; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends $$missing; fi
	@$(MAKE) -s .cache/nginx/root

# What compiles bpf/: tests see whether the committed object is up to date, and
# upgrade to another.
clang:
	@command -v clang-19 >/dev/null && command -v llvm-strip-19 >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends clang-19 llvm-19; } || \
	  echo "clang-19 cannot be installed; tests that compile bpf/ are skipped"

# Debian's nginx, which tests compare with: unpacked, as installing it would start it.
.cache/nginx/root:
	@mkdir -p .cache/nginx && cd .cache/nginx && rm -rf *.deb unpacked && \
	if command -v apt-get dpkg >/dev/null && { apt-get download -q nginx libpcre2-8-0 || { $(SUDO) apt-get update -q && apt-get download -q nginx libpcre2-8-0; }; } >log 2>&1; then \
	  for deb in *.deb; do dpkg -x $$deb unpacked || exit 1; done; mv unpacked root; rm -f *.deb; \
	else echo "nginx cannot be fetched; tests that compare with it are skipped"; fi

up: deps build ## Start a cluster with Fairway and the quick start in it
	$(SUDO) $(BIN)/fairway up --name $(CLUSTER)
	examples/quickstart.sh

down: ## Remove it again
	$(SUDO) $(BIN)/fairway down --name $(CLUSTER)

test: deps clang build ## Run every test (those that need root are run as root)
	$(GO) test -timeout 20m $(ASROOT) ./...
	cd tools && $(GO) test ./...
	cd bench && $(GO) test ./...

faults: deps build ## Let faults of Services last for minutes, under 1,000 new connections per second
	$(GO) test -timeout 30m $(ASROOT) ./internal/agent -run 'TestAgentKilled|TestUpgrade|TestAPIGone|TestVerifierRefuses' -v -faults

lint: ## Check form: gofmt, vet
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "run gofmt on:" $$bad; exit 1; }
	$(GO) vet ./...
	for module in tools bench; do (cd $$module && $(GO) vet ./...) || exit 1; done

generate: ## Regenerate what is generated
	$(GO) generate ./...
	cd tools && $(GO) run ./chart

bench: bench-up bench-dns bench-http bench-services ## Run all benchmarks

bench-up: build ## Time `fairway up` phase by phase, and weigh all processes
	cd bench && $(GO) build -o ../$(BIN)/bench/ ./up
	cd bench && $(SUDO) ../$(BIN)/bench/up

bench-dns: fairway ## Measure the cost of a DNS query beside its peers (fetches them once; 8 minutes)
	cd bench && $(GO) build -o ../$(BIN)/bench/ ./dns
	cd bench && ../$(BIN)/bench/dns $(or $(ARGS),-o ../docs/performance.md)

bench-http: ## Measure the cost of an HTTP request beside its peers (fetches them once; 10 minutes)
	$(GO) build -ldflags '$(LD)' -o $(BIN)/bench/ ./internal/proxy/standalone
	cd bench && $(GO) build -o ../$(BIN)/bench/ ./http
	cd bench && ../$(BIN)/bench/http $(or $(ARGS),-o ../docs/performance.md)

bench-services: ## Measure Services beside kube-proxy and a direct connection (20 minutes; ARGS=-quick: 4)
	cd kube && $(GO) build -o ../$(BIN)/bench/ ./cmd/kube-proxy
	cd bench && $(GO) build -o ../$(BIN)/bench/ ./services
	cd bench && $(SUDO) ../$(BIN)/bench/services $(or $(ARGS),-o ../docs/performance.md)

# Upstream's suite, its runner and the images that it runs.
$(BIN)/conformance/images.tar: build
	@missing=; for pair in busybox:busybox-static nc.openbsd:netcat-openbsd dig:bind9-dnsutils wget:wget; do \
	  command -v $${pair%:*} >/dev/null || missing="$$missing $${pair#*:}"; done; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends $$missing; fi
	mkdir -p $(BIN)/conformance
	cd conformance && $(GO) test -c -ldflags '-s -w' -o ../$(BIN)/conformance/e2e.test . && \
	  $(GO) build -ldflags '-s -w' -o ../$(BIN)/conformance/ ./run tool
	cd conformance/own && $(GO) build -o ../../$(BIN)/conformance/ ./images && cd .. && \
	  ../$(BIN)/conformance/images "$$($(GO) list -m -f '{{.Dir}}' k8s.io/kubernetes)" ../$(BIN)/conformance ../$(BIN)/conformance/images.tar
.PHONY: $(BIN)/conformance/images.tar

$(BIN)/conformance/coredns:
	GOBIN=$(abspath $(BIN))/conformance $(GO) install github.com/coredns/coredns@v1.15.0

$(BIN)/conformance/iperf:
	mkdir -p $(BIN)/conformance
	conformance/own/images/iperf.sh $(abspath $@)

# Before the images, which hold them.
$(BIN)/conformance/images.tar: | $(if $(filter conformance,$(MAKECMDGOALS)),$(BIN)/conformance/coredns $(BIN)/conformance/iperf)

conformance: $(BIN)/conformance/images.tar ## Run upstream's own [sig-network] suite (ARGS='-focus X' narrows it)
	cd conformance && $(SUDO) ../$(BIN)/conformance/run $(ARGS)

conformance-quick: $(BIN)/conformance/images.tar ## Run the part of it for which CI has time
	cd conformance/own && $(GO) test ./...
	cd conformance && $(GO) test ./run
	cd conformance && $(SUDO) ../$(BIN)/conformance/run -quick $(ARGS)

clean: ## Remove bin/
	rm -rf $(BIN)
