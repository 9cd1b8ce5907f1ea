package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/fairway-net/fairway/internal/apply/netdev"
	"github.com/fairway-net/fairway/internal/cni"
	"github.com/fairway-net/fairway/internal/cni/ipam"
	"github.com/fairway-net/fairway/internal/model"
)

// Datapath is what must be attached to a pod's link before packets may pass.
type Datapath interface {
	// Attach is called with the link down. Again for the same link it changes nothing.
	Attach(Record) error
	// Detach is called with the link gone. An unknown one is no error.
	Detach(Record) error
}

// Options of a Server.
type Options struct {
	Dir      string         // of the records
	PodCIDRs []netip.Prefix // of this node, at most one of each family
	Sources  []netip.Addr   // the node's own addresses towards its pods
	MTU      int
	Datapath Datapath
	// AwaitPolicy returns when the datapath knows the policy of a pod, or when
	// ctx ends. In the second case the pod starts closed.
	AwaitPolicy func(ctx context.Context, pod model.Name, uid string)
	Log         *slog.Logger
}

// policyPatience is how long ADD waits for a policy. A pod whose policy comes
// later starts closed.
const policyPatience = 50 * time.Millisecond

// Server attaches and detaches pods.
type Server struct {
	o       Options
	pool    *ipam.Pool
	records *records
	locks   locks // by Host: calls for one interface come one at a time
	calls   calls
	orphans map[netip.Addr]string // address -> link that was found without a record; only for Reconcile
}

// New returns a Server that knows what its predecessor has left: pods whose
// links are there are attached again, addresses of others are free.
func New(o Options) (*Server, error) {
	recs, err := openRecords(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, pool: ipam.New(o.PodCIDRs), records: recs, locks: locks{held: map[string]*lock{}}, orphans: map[netip.Addr]string{}}
	return s, s.restore()
}

// restore reserves every address that a pod may have before any is given away.
func (s *Server) restore() error {
	routes, err := netdev.ReadPods()
	if err != nil {
		return err
	}
	for ip, link := range routes {
		if _, ok := s.records.get(link); !ok {
			s.o.Log.Warn("a pod's link has no record; its address stays reserved until the link is gone", "link", link, "ip", ip)
			s.pool.Reserve(ip)
			s.orphans[ip] = link
		}
	}
	for _, rec := range s.records.list() {
		s.pool.Reserve(rec.IPs...)
	}
	if err := s.Reconcile(); err != nil {
		return err
	}
	for _, rec := range s.records.list() {
		err := s.o.Datapath.Attach(rec)
		if err == nil {
			err = netdev.Up(s.veth(rec), s.o.Sources)
		}
		if exists, existsErr := netdev.Exists(rec.Host); err != nil && (exists || existsErr != nil) {
			return fmt.Errorf("attach pod %v again: %w", rec.Pod, err)
		} // else its pod has ended just now, and the next Reconcile frees it
	}
	return nil
}

// Records lists the attached pods, oldest first.
func (s *Server) Records() []Record { return s.records.list() }

// Reconcile frees what pods had whose link is gone without a DEL. It must not
// be called twice at once.
func (s *Server) Reconcile() error {
	for ip, link := range s.orphans {
		if exists, err := netdev.Exists(link); err == nil && !exists {
			s.pool.Free(ip)
			delete(s.orphans, ip)
		}
	}
	return s.sweep("its link is gone", func(rec Record) (bool, error) {
		exists, err := netdev.Exists(rec.Host)
		return !exists, err
	})
}

// Reroute gives the pods their routes again: the kernel takes them away with
// the node's own address, which is their source. bare: do without it.
func (s *Server) Reroute(bare bool) error {
	sources := s.o.Sources
	if bare {
		sources = nil
	}
	var errs []error
	for _, rec := range s.records.list() {
		unlock, ok := s.locks.try(rec.Host)
		if !ok {
			continue // a call is working on it
		}
		if rec, ok := s.records.get(rec.Host); ok {
			errs = append(errs, netdev.Up(s.veth(rec), sources))
		}
		unlock()
	}
	return errors.Join(errs...)
}

// GC releases all that is not in valid, the runtime's complete list.
func (s *Server) GC(valid []cni.Attachment) error {
	return s.sweep("the runtime does not know it any more", func(rec Record) (bool, error) {
		return !slices.Contains(valid, rec.Attachment), nil
	})
}

// sweep removes the records that are stale, but for those that a call is
// working on at this moment.
func (s *Server) sweep(why string, stale func(Record) (bool, error)) error {
	var errs []error
	for _, listed := range s.records.list() {
		unlock, ok := s.locks.try(listed.Host)
		if !ok {
			continue
		}
		if rec, ok := s.records.get(listed.Host); ok { // else a DEL came between
			gone, err := stale(rec)
			if err == nil && gone {
				s.o.Log.Info("pod released", "pod", rec.Pod, "ips", rec.IPs, "reason", why)
				err = s.remove(rec)
			}
			errs = append(errs, err)
		}
		unlock()
	}
	return errors.Join(errs...)
}

// Add gives the pod behind ns its interface.
func (s *Server) Add(ctx context.Context, r *cni.Request, ns *os.File) (*cni.Result, error) {
	start := time.Now()
	rec := recordOf(r)
	defer s.locks.lock(rec.Host)()
	if old, ok := s.records.get(rec.Host); ok { // the runtime has lost the answer of a first ADD
		if err := s.remove(old); err != nil {
			return nil, err
		}
	}
	ips, err := s.pool.Allocate()
	if err != nil {
		return nil, err
	}
	rec.IPs = ips
	steps, err := s.build(ctx, &rec, ns)
	if err != nil {
		return nil, errors.Join(err, s.remove(rec))
	}
	s.o.Log.Info("pod attached", "pod", rec.Pod, "ips", rec.IPs, "link", rec.Host, "took", time.Since(start), steps)
	return s.result(rec, r.Netns), nil
}

// build makes everything that rec says, in the order that is safe to
// interrupt, and returns how long each step took.
func (s *Server) build(ctx context.Context, rec *Record, ns *os.File) (slog.Attr, error) {
	var steps []any
	step := func(name string, f func() error) error {
		start := time.Now()
		err := f()
		steps = append(steps, slog.Duration(name, time.Since(start)))
		return err
	}
	err := step("link", func() (err error) {
		if err = s.records.put(*rec); err != nil {
			return err
		}
		if rec.IfIndex, err = netdev.Create(s.veth(*rec), ns); err != nil {
			return err
		}
		return s.records.put(*rec)
	})
	if err == nil {
		// Before Attach, so that a pod is not taken for its namesake that has just
		// gone: a StatefulSet gives the name again, with other labels perhaps.
		err = step("policy", func() error {
			wait, cancel := context.WithTimeout(ctx, policyPatience)
			defer cancel()
			s.o.AwaitPolicy(wait, rec.Pod, rec.UID)
			return nil
		})
	}
	if err == nil {
		err = step("datapath", func() error { return s.o.Datapath.Attach(*rec) })
	}
	if err == nil {
		err = step("up", func() error { return netdev.Up(s.veth(*rec), s.o.Sources) })
	}
	return slog.Group("steps", steps...), err
}

// remove takes away everything that rec says, in the reverse order of build.
func (s *Server) remove(rec Record) error {
	if err := netdev.Delete(rec.Host); err != nil {
		return err
	}
	if rec.IfIndex != 0 {
		if err := s.o.Datapath.Detach(rec); err != nil {
			return fmt.Errorf("detach datapath: %w", err)
		}
	}
	if err := s.records.remove(rec.Host); err != nil {
		return err
	}
	s.pool.Free(rec.IPs...)
	return nil
}

// Del takes the interface away; there may be nothing left of it.
func (s *Server) Del(r *cni.Request) error {
	host := netdev.HostName(r.ContainerID, r.IfName)
	defer s.locks.lock(host)()
	rec, ok := s.records.get(host)
	if !ok {
		return netdev.Delete(host)
	}
	s.o.Log.Info("pod detached", "pod", rec.Pod, "ips", rec.IPs)
	return s.remove(rec)
}

// Check reports what is wrong with the pod's interface.
func (s *Server) Check(r *cni.Request, ns *os.File) error {
	host := netdev.HostName(r.ContainerID, r.IfName)
	defer s.locks.lock(host)()
	rec, ok := s.records.get(host)
	if !ok {
		return cni.Errorf(cni.CodeUnknown, "no record of container %s", r.ContainerID)
	}
	return netdev.Verify(s.veth(rec), ns)
}

func recordOf(r *cni.Request) Record {
	return Record{
		Attachment: cni.Attachment{ContainerID: r.ContainerID, IfName: r.IfName},
		Pod:        model.Name{Namespace: r.Arg("K8S_POD_NAMESPACE"), Name: r.Arg("K8S_POD_NAME")},
		UID:        uidOf(r.Arg("K8S_POD_UID")),
		Host:       netdev.HostName(r.ContainerID, r.IfName),
		Created:    time.Now().UTC(),
	}
}

// uidOf returns the UID that the pod has in the API, "" if it is not known: a
// static pod has a hash of its manifest here and its mirror's UID there.
func uidOf(arg string) string {
	if len(arg) != len("00000000-0000-0000-0000-000000000000") {
		return ""
	}
	return arg
}

func (s *Server) veth(rec Record) netdev.Veth {
	return netdev.Veth{Host: rec.Host, Pod: rec.IfName, MTU: s.o.MTU, IPs: rec.IPs}
}

func (s *Server) result(rec Record, netns string) *cni.Result {
	hostMAC, podMAC := s.veth(rec).MACs()
	out := &cni.Result{Interfaces: []cni.Interface{
		{Name: rec.Host, Mac: hostMAC.String(), MTU: s.o.MTU},
		{Name: rec.IfName, Mac: podMAC.String(), MTU: s.o.MTU, Sandbox: netns},
	}}
	for _, ip := range rec.IPs {
		gw, all := netdev.Gateway(ip).String(), "0.0.0.0/0"
		if ip.Is6() {
			all = "::/0"
		}
		out.IPs = append(out.IPs, cni.IP{Address: netip.PrefixFrom(ip, ip.BitLen()).String(), Gateway: gw, Interface: 1})
		out.Routes = append(out.Routes, cni.Route{Dst: all, GW: gw})
	}
	return out
}
