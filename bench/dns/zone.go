package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

const outsideNames = 1000

// writeZones writes the same Services as manifests and as a zone file, a zone
// of names outside the cluster, and the questions for both.
func writeZones(dir string, names int) error {
	r := rand.New(rand.NewPCG(1, 2)) // every call measures the same questions
	var manifests, zone, outside, ask, askOutside bytes.Buffer
	zone.WriteString("$ORIGIN cluster.local.\n$TTL 5\n@ SOA ns.dns hostmaster 1 7200 1800 86400 5\n@ NS ns.dns\nns.dns A 10.96.0.10\n")
	for i := range names {
		ip := fmt.Sprintf("10.%d.%d.%d", 97+i>>16, i>>8&255, i&255)
		name := fmt.Sprintf("svc%d.ns%d.svc.cluster.local.", i, i%50)
		fmt.Fprintf(&manifests, "---\napiVersion: v1\nkind: Service\nmetadata: {name: svc%d, namespace: ns%d}\nspec: {clusterIP: %s, ports: [{name: http, port: 80}]}\n", i, i%50, ip)
		fmt.Fprintf(&zone, "%s A %s\n_http._tcp.%s SRV 0 100 80 %s\n", name, ip, name, name)
	}
	for range 20_000 {
		if i := r.IntN(names); r.IntN(100) < 80 {
			fmt.Fprintf(&ask, "svc%d.ns%d.svc.cluster.local. A\n", i, i%50)
		} else {
			fmt.Fprintf(&ask, "missing%d.ns%d.svc.cluster.local. A\n", i, i%50)
		}
	}
	outside.WriteString("$ORIGIN example.com.\n$TTL 86400\n@ SOA ns host 1 7200 1800 86400 3600\n@ NS ns\nns A 192.0.2.1\n")
	for i := range outsideNames {
		fmt.Fprintf(&outside, "host%d A 192.0.2.%d\n", i, i%256)
		fmt.Fprintf(&askOutside, "host%d.example.com. A\n", i)
	}
	for name, b := range map[string]*bytes.Buffer{
		"manifests.yaml": &manifests, "cluster.zone": &zone, "outside.zone": &outside, "cluster.queries": &ask, "outside.queries": &askOutside,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
