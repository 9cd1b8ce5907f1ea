package dns

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/fairway-net/fairway/internal/dns/index"
	"github.com/fairway-net/fairway/internal/plan/zone"
)

// TestMemory bounds what a large zone takes: 5,000 Services with an address
// and 5,000 headless ones of 10 endpoints each.
func TestMemory(t *testing.T) {
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	x, err := index.New(params)
	if err != nil {
		t.Fatal(err)
	}
	const services, endpoints = 5000, 50_000
	http := zone.Port{Name: "http", Protocol: 6, Port: 80}
	before := heap()
	for i := range services {
		x.Set(zone.Records{Name: name(fmt.Sprintf("ns%d/web%d", i%50, i)), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}, Ports: []zone.Port{http}})
	}
	plain := heap()
	for i := range services {
		r := zone.Records{Name: name(fmt.Sprintf("ns%d/db%d", i%50, i))}
		for j := range endpoints / services {
			k := i*10 + j
			a := netip.AddrFrom4([4]byte{10, 128, byte(k >> 8), byte(k)})
			r.Hosts = append(r.Hosts, zone.Host{Label: zone.Dashed(a), Addrs: []netip.Addr{a}, Ports: []zone.Port{http}})
		}
		x.Set(r)
	}
	full := heap()
	t.Logf("%d bytes per Service, %d per endpoint", (plain-before)/services, (full-plain)/endpoints)
	if n := (plain - before) / services; n > 1000 {
		t.Errorf("%d bytes per Service", n)
	}
	if n := (full - plain) / endpoints; n > 400 {
		t.Errorf("%d bytes per endpoint", n)
	}
	runtime.KeepAlive(x)
}
