package bpf

import (
	"fmt"

	"github.com/fairway-net/fairway/internal/model"
)

// pod is an attached pod.
type pod struct {
	link  PodLink // Pod is empty while only the map has told us of it
	value kernelEndpoint
}

// restorePods learns which links have an entry. Their policy stays in force
// until a plan says something else.
func (d *Datapath) restorePods() error {
	d.prefixes = map[kernelPrefixKey]uint32{}
	if err := each(d.objs.Classes, func(k kernelPrefixKey, v uint32) { d.prefixes[k] = v }); err != nil {
		return err
	}
	return each(d.objs.Endpoints, func(ifindex uint32, v kernelEndpoint) {
		p := &pod{link: PodLink{IfIndex: int(ifindex)}, value: v}
		for _, k := range []kernelAddr{v.Ip4, v.Ip6} {
			if a := k.addr(); a.IsValid() {
				p.link.IPs = append(p.link.IPs, a)
			}
		}
		d.pods[int(ifindex)] = p
		d.retain(v)
	})
}

// retain and release count a pod among the users of its sets.
func (d *Datapath) retain(v kernelEndpoint) {
	for _, id := range []uint32{v.Ingress, v.Egress} {
		if id != policyNone && id != policyClosed {
			d.sets.retain(id)
		}
	}
}

func (d *Datapath) release(v kernelEndpoint) {
	for _, id := range []uint32{v.Ingress, v.Egress} {
		if id != policyNone && id != policyClosed {
			d.sets.release(id)
		}
	}
}

// writePod makes the map say v of p.
func (d *Datapath) writePod(p *pod, v kernelEndpoint) error {
	if err := d.objs.Endpoints.Put(uint32(p.link.IfIndex), v); err != nil {
		return fmt.Errorf("write endpoint of ifindex %d: %w", p.link.IfIndex, err)
	}
	d.retain(v)
	d.release(p.value)
	p.value = v
	return nil
}

// AttachPod attaches the programs to a pod's link. The pod is closed until a
// plan with its name is applied, unless the last plan has it already. Calling
// it again for the same link, after a restart say, changes nothing.
func (d *Datapath) AttachPod(l PodLink) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := kernelEndpoint{Ingress: policyClosed, Egress: policyClosed}
	for _, a := range l.IPs {
		if a.Unmap().Is4() {
			v.Ip4 = addrOf(a)
		} else {
			v.Ip6 = addrOf(a)
		}
	}
	p := d.pods[l.IfIndex]
	if p == nil {
		p = &pod{value: v}
	}
	same := p.value.Ip4 == v.Ip4 && p.value.Ip6 == v.Ip6 && (p.link.Pod == model.Name{} || p.link.Pod == l.Pod)
	if same {
		v = p.value
	}
	p.link = l
	if err := d.writePod(p, v); err != nil {
		return err
	}
	d.pods[l.IfIndex] = p
	if d.policy != nil {
		if pp := policyFor(d.policy, l); pp != nil {
			if err := d.held.openPod(p, pp); err != nil {
				return err
			}
		}
	}
	return d.attachPodFilters(l.IfIndex)
}

func (d *Datapath) attachPodFilters(ifindex int) error {
	if err := d.filters.ensure(ifindex, toDevice, d.objs.ToPod); err != nil {
		return err
	}
	return d.filters.ensure(ifindex, fromDevice, d.objs.FromPod)
}

// DetachPod forgets the pod behind ifindex; the link itself may be gone. If it
// is not, its filters stay, and nothing passes.
func (d *Datapath) DetachPod(ifindex int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.forgetPod(ifindex)
}

func (d *Datapath) forgetPod(ifindex int) error {
	if err := deleteKey(d.objs.Endpoints, uint32(ifindex)); err != nil {
		return err
	}
	if p := d.pods[ifindex]; p != nil {
		d.release(p.value)
		delete(d.pods, ifindex)
	}
	return nil
}
