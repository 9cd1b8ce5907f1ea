package forward

import (
	"context"

	"github.com/fairway-net/fairway/internal/dns/wire"
)

// Search completes the reply to a question that began a resolver's walk through
// its search path, for the name that was meant: by a CNAME to the first name
// that exists of those below the node's search domains and the name itself, and
// what upstream says of it. If none exists the CNAME is to the name itself, and
// says no more: the resolver is done. Without a ctx it does what needs no
// waiting, and false says that there is more to do.
func (f *Forwarder) Search(ctx context.Context, w *wire.Writer, meant []byte, ttl uint32) (bool, error) {
	q := w.Query()
	for i := range len(f.search) + 1 {
		name := meant
		if i < len(f.search) {
			if len(meant)-1+len(f.search[i]) > 255 {
				continue
			}
			name = append(append(make([]byte, 0, 255), meant[:len(meant)-1]...), f.search[i]...)
		}
		a, err := f.lookup(ctx, name, q.Type, q)
		if err != nil {
			w.Reset()
			w.Rcode(wire.ServFail)
			return true, err
		}
		if a == nil {
			return false, nil
		}
		last := i == len(f.search)
		if !last && a.Rcode == wire.NoError && !a.has() {
			// Without data. The resolver asked for the other family, too, and
			// is content if that has some.
			if other := sibling(q.Type); other != 0 {
				b, err := f.lookup(ctx, name, other, q)
				if err == nil && b == nil {
					return false, nil
				}
				last = err == nil && b.Rcode == wire.NoError && b.has()
			}
		}
		if last || a.Rcode == wire.NoError && a.has() || a.Rcode != wire.NoError && a.Rcode != wire.NXDomain {
			return true, f.found(w, name, a, ttl)
		}
	}
	return true, nil
}

// lookup is Resolve, or what is in the cache.
func (f *Forwarder) lookup(ctx context.Context, name []byte, rrtype uint16, q *wire.Query) (*Answer, error) {
	cd := q.Flags&wire.FlagCD != 0
	if ctx != nil {
		return f.Resolve(ctx, name, rrtype, q.DO, cd)
	}
	var buf [300]byte
	a := f.cache.get(appendKey(buf[:0], name, rrtype, q.DO, cd))
	if a == nil || !a.fresh(f.o.Now()) {
		return nil, nil
	}
	f.stats.Hits.Add(1)
	return a, nil
}

func (f *Forwarder) found(w *wire.Writer, name []byte, a *Answer, ttl uint32) error {
	w.Reset()
	if a.Rcode != wire.NoError && a.Rcode != wire.NXDomain {
		w.Rcode(a.Rcode)
		return nil
	}
	w.Flag(wire.FlagAA)
	owner, ok := w.CNAME(wire.QuestionName, name, ttl)
	if ok && w.Query().Type != wire.TypeCNAME {
		a.FollowTo(w, owner, f.o.Now())
	}
	w.Rcode(wire.NoError) // NXDOMAIN would send the resolver on
	return nil
}

// sibling is the type that resolvers ask for together with t; 0: none.
func sibling(t uint16) uint16 {
	switch t {
	case wire.TypeA:
		return wire.TypeAAAA
	case wire.TypeAAAA:
		return wire.TypeA
	}
	return 0
}
