#!/bin/sh
# Applies the quick start and waits until it answers through its Ingress.
# CLUSTER is the name of the cluster (default: default).
set -eu
cd "$(dirname "$0")/.."
context=fairway-${CLUSTER:-default}
kubectl() { bin/kubectl --context "$context" "$@"; }

kubectl apply -f examples/quickstart.yaml

end=$(($(date +%s) + ${TIMEOUT:-60}))
until address=$(kubectl get ingress hello -o 'jsonpath={.status.loadBalancer.ingress[0].ip}') && [ -n "$address" ] &&
	case $address in *:*) address="[$address]" ;; esac && # IPv6
	answer=$(curl --silent --fail --noproxy '*' --max-time 2 "http://$address/hello"); do
	if [ "$(date +%s)" -ge "$end" ]; then
		echo "The quick start does not answer through its Ingress. What there is:" >&2
		kubectl get pods --all-namespaces -o wide >&2
		kubectl get ingress,service --all-namespaces >&2
		kubectl describe ingress hello | sed -n '/^Events/,$p' >&2
		exit 1
	fi
	sleep 0.1
done

cat <<END

\$ curl http://$address/hello
$answer

It runs. Ask again and another pod answers; docs/tutorial.md goes on from here.
END
