#!/bin/bash
# Runs the network part of Kubernetes' own end-to-end suite against a cluster of
# Fairway's, made for it and removed afterwards. FOCUS narrows it (a regular
# expression over the specs' names), KEEP=1 leaves the cluster, OUT is where
# the report and the logs go.
set -euo pipefail
cd "$(dirname "$0")"
bin=$PWD/../bin
out=${OUT:-$PWD/../bench/out/conformance}
name=conformance
focus=${FOCUS:-\\[sig-network\\]}
# What the kernel or the machine cannot have, each named in docs/conformance.md.
# Nothing else is skipped.
skip=${SKIP:-'SCTPConnectivity|Feature:IPv6DualStack|Disruptive|Alpha|SSH|cloud|GCE|PerformanceDNS|IPerf2|KubeProxyDaemonSet'}

mkdir -p "$out" "$bin/conformance"
CGO_ENABLED=0 go test -c -o "$bin/conformance/e2e.test" .
for tool in agnhost regression-issue-74839; do
  CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$bin/conformance/$tool" "k8s.io/kubernetes/test/images/$tool"
done
go run ./images "$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)" "$bin/conformance" "$out/images.tar"

"$bin/fairway" up --name $name --nodes "${NODES:-3}"
[ -n "${KEEP:-}" ] || trap '"$bin/fairway" down --name $name' EXIT
"$bin/fairway" image load --name $name "$out/images.tar"
kubeconfig=$out/kubeconfig
"$bin/fairway" kubeconfig --name $name >"$kubeconfig"

"$bin/conformance/e2e.test" -test.timeout 0 \
  -kubeconfig "$kubeconfig" -provider local -kubectl-path "$bin/kubectl" -report-dir "$out" \
  -disable-log-dump -dump-logs-on-failure=false -allowed-not-ready-nodes=0 -num-nodes="${NODES:-3}" \
  -ginkgo.focus "$focus" -ginkgo.skip "$skip" -ginkgo.timeout "${TIMEOUT:-3h}" -ginkgo.v=false -ginkgo.silence-skips \
  2>&1 | tee "$out/log.txt"
