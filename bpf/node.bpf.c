/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The node's uplink (TCX).
 *
 *   from_net  1. ARP and NDP for an address that this node announces: answered
 *             2. a packet of a known flow: rewritten
 *             3. the first packet to a Service: a backend is chosen, the flow
 *                recorded. A backend on this node sees the client's address;
 *                towards another node the source becomes this node's.
 *   to_net    1. replies from this node's pods and processes: rewritten back
 *             2. packets of this node itself to a Service: as in from_net
 *             3. packets of this node's pods to the world: masqueraded
 *
 * All rewriting of node-to-node and world traffic happens on this one device,
 * destinations before routing and sources after it, so that the stack never
 * sees one of its own addresses come in from outside. */
#include "lib/arp.h"
#include "lib/lb.h"
#include "lib/nat.h"
#include "lib/ndp.h"
#include "lib/reject.h"

/* An ICMP error about a flow that was rewritten here goes to the flow's real
 * end, quoting what that end knows. */
static __always_inline int related(struct __sk_buff *skb, struct pkt *p, bool ingress)
{
	struct pkt inner;
	if (parse_inner(skb, p, &inner))
		return TCX_PASS;
	struct conn *c = find_reverse(&inner.t, SCOPE_NODE);
	if (!c || !(c->flags & CONN_NAT))
		return TCX_PASS;
	bool redirect = c->flags & CONN_REDIRECT, self = c->flags & CONN_SELF, own = c->service;
	struct tuple to = c->to;
	int reason = rewrite_error(skb, p, &inner, &to);
	if (reason)
		return drop(reason);
	if (self)
		return bounce(skb, BPF_F_INGRESS);
	if (ingress)
		return redirect ? forward(skb, p, true) : TCX_PASS;
	return own ? forward(skb, p, false) : TCX_PASS; /* as in to_net */
}

/* begin_direct clears the way for a connection that is not for a Service. */
__global int begin_direct(const struct tuple *t)
{
	struct tuple answer;
	if (!t)
		return 0;
	reverse(&answer, t);
	struct conn *c = bpf_map_lookup_elem(&conns, &answer);
	return c && c->flags & CONN_NAT ? outlived(&answer, c) : 0;
}

/* open_service handles the first packet to a Service. local: it is from a socket
 * of this node that the socket hooks have not seen; it gets here as far as the
 * node has a route for it. */
__global int open_service(struct __sk_buff *skb, struct pkt *p, bool local)
{
	struct backend b;
	if (!p)
		return TCX_PASS;
	__u32 how = local ? BPF_F_INGRESS : 0;
	struct frontend *fe = frontend_of(&p->t.dst, p->t.dport, p->t.proto);
	if (!fe && p->opens)
		begin_direct(&p->t);
	if (!fe)
		return net_of(&p->t.dst) & NET_SERVICE ? drop(DROP_UNALLOCATED) : TCX_PASS;
	if (p->overtaken)
		return drop(DROP_FRAGMENT);
	/* Out of the middle of a connection that is not in the table. At an address
	 * of the node it may be the node's own, and the stack knows. */
	if (midway(p))
		return bpf_map_lookup_elem(&self, &p->t.dst) ? TCX_PASS : refuse(skb, p, DROP_NO_FLOW, how);
	if (!admitted(fe, &p->t.src))
		return drop(DROP_SOURCE_RANGE);
	int reason = choose(fe, local, &p->t.src, &b);
	if (reason)
		return refuse(skb, p, reason, how);

	struct tuple to = p->t;
	__u32 flags = CONN_NAT;
	bool ours = !b.local && !local, self = same(&to.src, &b.addr);
	to.dst = b.addr;
	to.dport = b.port;
	if (ours) {
		struct addr *own = node_addr(p->v6);
		if (!own)
			return drop(DROP_NO_ROUTE);
		to.src = *own;
		flags |= CONN_REDIRECT;
	} else if (self) { /* the node itself, which takes nothing from its own address: it is the Service's to both ends */
		if (!local)
			return drop(DROP_NO_ROUTE);
		to.src = p->t.dst;
		flags |= CONN_SELF;
	}
	reason = reserve(&p->t, &to, flags, fe->service, !ours);
	if (!reason)
		reason = rewrite(skb, p, &to);
	if (reason)
		return drop(reason);
	return flags & CONN_SELF ? bounce(skb, BPF_F_INGRESS) : forward(skb, p, ours);
}

SEC("tcx/ingress")
int from_net(struct __sk_buff *skb)
{
	struct pkt p;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(skb);
	if (!is_ip(skb))
		return TCX_PASS;
	int reason = parse(skb, &p);
	if (reason == DROP_FRAGMENT && is_service(&p.t.dst))
		return drop(DROP_FRAGMENT); /* it came before the first one, which has the port */
	if (reason == DROP_FRAGMENT)
		passed_early(&p); /* at the node's own address it may be for the node */
	if (reason)
		return TCX_PASS; /* what cannot be read cannot belong to a Service */
	if (p.kind == KIND_NEIGHBOUR)
		return answer_ndp(skb, &p);
	if (p.kind == KIND_ICMP_ERROR)
		return related(skb, &p, true);
	struct conn *c = find(&p.t, SCOPE_NODE);
	if (!c && awaited(&p))
		return drop(DROP_HANDOVER);
	if (!c || !(c->flags & CONN_NAT) || renewed(&p, c))
		return open_service(skb, &p, false);
	if (p.overtaken)
		return drop(DROP_FRAGMENT);
	if (vanished(c, &p))
		return refuse(skb, &p, DROP_BACKEND_GONE, 0);
	touch(c, &p, false);
	bool ours = c->flags & CONN_REDIRECT, onward = ours || c->service;
	struct tuple to = c->to;
	reason = rewrite(skb, &p, &to);
	if (reason)
		return drop(reason);
	return onward ? forward(skb, &p, ours) : TCX_PASS;
}

/* A pod's packet to the world gets the node's address, unless it answers
 * somebody who came to the pod by its own. */
__global int masquerade(struct __sk_buff *skb, struct pkt *p)
{
	if (!p || net_of(&p->t.dst) || !(net_of(&p->t.src) & NET_LOCAL_POD))
		return TCX_PASS;
	if ((p->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) /* an answer, whatever is known of the question */
		return TCX_PASS;
	if (find_reverse(&p->t, SCOPE_POD_IN))
		return TCX_PASS;
	struct addr *own = node_addr(p->v6);
	if (!own)
		return drop(DROP_NO_ROUTE);
	struct tuple to = p->t;
	to.src = *own;
	int reason = reserve(&p->t, &to, CONN_NAT, 0, false);
	if (!reason)
		reason = rewrite(skb, p, &to);
	return reason ? drop(reason) : TCX_PASS;
}

SEC("tcx/egress")
int to_net(struct __sk_buff *skb)
{
	struct pkt p;
	if (!is_ip(skb) || parse(skb, &p) || p.kind == KIND_NEIGHBOUR)
		return TCX_PASS;
	if (p.kind == KIND_ICMP_ERROR)
		return related(skb, &p, false);
	struct conn *c = find(&p.t, SCOPE_NODE);
	if (!c && awaited(&p))
		return drop(DROP_HANDOVER);
	if (!c || !(c->flags & CONN_NAT)) {
		if (!skb->ingress_ifindex && is_node(&p.t.src))
			return open_service(skb, &p, true);
		return masquerade(skb, &p);
	}
	bool own = c->service;
	if (own && renewed(&p, c))
		return open_service(skb, &p, true);
	if (own && vanished(c, &p))
		return refuse(skb, &p, DROP_BACKEND_GONE, BPF_F_INGRESS);
	touch(c, &p, false);
	bool self = c->flags & CONN_SELF;
	struct tuple to = c->to;
	int reason = rewrite(skb, &p, &to);
	if (reason)
		return drop(reason);
	if (self)
		return bounce(skb, BPF_F_INGRESS);
	return own ? forward(skb, &p, false) : TCX_PASS; /* what this node opened goes where the backend is */
}
