package index

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/fairway-net/fairway/internal/dns/wire"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/zone"
)

// Params are the settings of an Index.
type Params struct {
	zone.Params
	// Reverse are the cluster's own address ranges. A reverse name in them
	// that nobody has does not exist; other reverse names are not ours to deny.
	Reverse []netip.Prefix
}

// Index is the zone. Answer may be called at any time by anybody; Set and its
// kin by anybody too, they take turns.
type Index struct {
	params Params
	zone   []byte // in wire form, lower case
	labels int    // of zone
	suffix []byte // "svc" and the zone
	ttl    atomic.Uint32
	fixed  atomic.Pointer[map[string]*fixed] // what is in it never changes

	synced   atomic.Bool
	serial   atomic.Uint32
	services *table[answers]
	spaces   *table[struct{}]
	reverse  *table[pointers]

	pods       *table[claims] // by address
	podMode    atomic.Uint32
	podsSynced atomic.Bool
	search     atomic.Pointer[map[string]bool] // labels of namespaces; nil: none; a nil map: all

	mu   sync.Mutex     // of writers
	refs map[string]int // namespace -> 1 for the object itself + its Services
	objs map[string]bool

	podAddrs map[model.Name][]netip.Addr
	portSets map[string]*ports // by their content
}

// fixed is a name that exists whatever the cluster holds. No records: an empty
// non-terminal.
type fixed struct{ rrs []packed }

// packed is one record with the question's name as its owner.
type packed struct {
	rrtype uint16
	wire   []byte
}

// New returns an Index without Services that answers SERVFAIL until SetSynced.
func New(p Params) (*Index, error) {
	name, ok := wire.PackName(p.Zone)
	if !ok || len(name) < 2 {
		return nil, fmt.Errorf("zone %q: not a domain name", p.Zone)
	}
	x := &Index{
		params: p, zone: name, suffix: append([]byte("\x03svc"), name...), portSets: map[string]*ports{},
		services: newTable[answers](), spaces: newTable[struct{}](), reverse: newTable[pointers](), pods: newTable[claims](),
		refs: map[string]int{}, objs: map[string]bool{}, podAddrs: map[model.Name][]netip.Addr{},
	}
	for off := 0; name[off] != 0; off += 1 + int(name[off]) {
		x.labels++
	}
	x.ttl.Store(p.TTL)
	x.fix()
	return x, nil
}

// fix makes the names that exist whatever the cluster holds.
func (x *Index) fix() {
	all := map[string]*fixed{}
	at := func(absolute string) *fixed {
		n, _ := wire.PackName(absolute)
		k := string(n[:len(n)-len(x.zone)])
		if all[k] == nil {
			all[k] = &fixed{}
		}
		return all[k]
	}
	p := x.params.Params
	p.TTL = x.TTL()
	for _, n := range []string{"", "ns.dns.", "dns.", "svc.", "pod."} {
		at(n + p.Zone + ".")
	}
	for _, rr := range zone.Fixed(p, 0) {
		f := at(rr.Name)
		if rr.Type != zone.SOA { // its serial changes; see soa
			f.rrs = append(f.rrs, packFixed(rr))
		}
	}
	x.fixed.Store(&all)
}

// TTL is that of the zone's records, in seconds.
func (x *Index) TTL() uint32 { return x.ttl.Load() }

// SetTTL changes it in all of them.
func (x *Index) SetTTL(ttl uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ttl.Swap(ttl) == ttl {
		return
	}
	x.fix()
	for _, k := range x.services.keys() {
		x.services.set(k, x.services.get([]byte(k)).with(ttl))
	}
}

func packFixed(rr zone.RR) packed {
	var data []byte
	switch rr.Type {
	case zone.A, zone.AAAA:
		data = rr.Addr.AsSlice()
	case zone.NS:
		data, _ = wire.PackName(rr.Target)
	case zone.TXT:
		data = append([]byte{byte(len(rr.Text))}, rr.Text...)
	default:
		panic(fmt.Sprintf("dns/index: no packing for %v", rr)) // zone.Fixed grew a type
	}
	return packed{uint16(rr.Type), append(wire.AppendHead(nil, wire.Pointer(wire.QuestionName), uint16(rr.Type), rr.TTL, len(data)), data...)}
}

// SetSynced ends the time when names of the zone are answered by SERVFAIL.
func (x *Index) SetSynced() { x.synced.Store(true) }

// Synced reports whether SetSynced was called.
func (x *Index) Synced() bool { return x.synced.Load() }

// SetSerial sets the SOA's serial: seconds since 1970 of the last change.
func (x *Index) SetSerial(s uint32) { x.serial.Store(s) }

// Set replaces the answers of one Service; empty records remove it.
func (x *Index) Set(r zone.Records) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := key(r.Name)
	old, now := x.services.get([]byte(k)), x.pack(k, r)
	if old != nil && now != nil {
		k = *old.key
		now.key = old.key // what reverse names refer to, and are compared by
	}
	add, remove := reverseDiff(old, now)
	switch {
	case now != nil:
		if old == nil {
			x.ref(r.Name.Namespace, 1)
		}
		x.services.set(k, now)
	case old != nil:
		x.services.del(k)
		x.ref(r.Name.Namespace, -1)
	}
	for _, p := range add {
		x.addPointer(p)
	}
	for _, p := range remove {
		x.removePointer(p)
	}
}

// SetNamespace says whether a namespace exists. One that has Services exists
// in any case: events of different kinds come in any order.
func (x *Index) SetNamespace(name string, exists bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.objs[name] == exists {
		return
	}
	if exists {
		x.objs[name] = true
		x.ref(name, 1)
	} else {
		delete(x.objs, name)
		x.ref(name, -1)
	}
}

func (x *Index) ref(space string, by int) {
	k := label(space)
	switch x.refs[space] += by; {
	case x.refs[space] == 0:
		delete(x.refs, space)
		x.spaces.del(k)
	case by > 0 && x.refs[space] == by:
		x.spaces.set(k, &struct{}{})
	}
}

// Names lists the Services and the namespaces that the index holds, in no order.
func (x *Index) Names() (services []model.Name, namespaces []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, k := range x.services.keys() {
		services = append(services, parseKey(k))
	}
	for n := range x.objs {
		namespaces = append(namespaces, n)
	}
	return services, namespaces
}

// Reverse is the number of addresses that have a reverse name.
func (x *Index) Reverse() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.reverse.n
}
