/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The node's uplink (TCX).
 *
 *   from_net  1. ARP and NDP for an address that this node announces: answered
 *             2. a packet of a known flow: rewritten
 *             3. the first packet to a Service: a backend is chosen, the flow
 *                recorded. A backend on this node sees the client's address and
 *                the packet goes up the stack; towards another node the source
 *                becomes this node's and the packet leaves past the stack.
 *   to_net    1. replies from this node's pods and processes: rewritten back
 *             2. packets of this node's pods to the world: masqueraded
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
	bool redirect = c->flags & CONN_REDIRECT;
	struct tuple to = c->to;
	int reason = rewrite_error(skb, p, &inner, &to);
	if (reason)
		return drop(reason);
	return ingress && redirect ? forward(skb, p) : TCX_PASS;
}

/* A flow with a backend is given a new one if that is gone, where this hurts
 * nobody: for each datagram, and for the first packet of a connection. */
static __always_inline bool stale(const struct conn *c, const struct pkt *p)
{
	if (!c->service)
		return false;
	if (opens(p))
		return closing(c) || !serves(c->service, &c->to.dst, c->to.dport);
	return p->t.proto == PROTO_UDP && !serves(c->service, &c->to.dst, c->to.dport);
}

static __always_inline struct addr *node_addr(bool v6)
{
	__u32 zero = 0;
	struct node *n = bpf_map_lookup_elem(&node, &zero);
	if (!n)
		return NULL;
	struct addr *a = v6 ? &n->ip6 : &n->ip4;
	return is_zero(a) ? NULL : a;
}

/* open_service handles the first packet to a Service. */
__global int open_service(struct __sk_buff *skb, struct pkt *p)
{
	struct backend b;
	if (!p)
		return TCX_PASS;
	/* Packets out of the middle of a connection that we do not have: the
	 * stack knows no such connection either and says so. */
	if (p->t.proto == PROTO_TCP && !opens(p))
		return TCX_PASS;
	struct frontend *fe = frontend_of(&p->t.dst, p->t.dport, p->t.proto);
	if (!fe)
		return TCX_PASS;
	if (!admitted(fe, &p->t.src))
		return drop(DROP_SOURCE_RANGE);
	int reason = choose(fe, false, &p->t.src, &b);
	if (reason)
		return refuse(skb, p, reason);

	struct tuple to = p->t;
	__u32 flags = CONN_NAT;
	to.dst = b.addr;
	to.dport = b.port;
	if (!b.local) {
		struct addr *own = node_addr(p->v6);
		if (!own)
			return drop(DROP_NO_ROUTE);
		to.src = *own;
		flags |= CONN_REDIRECT;
	}
	reason = reserve(&p->t, &to, flags, fe->service, b.local);
	if (reason)
		return drop(reason);
	reason = rewrite(skb, p, &to);
	if (reason)
		return drop(reason);
	return b.local ? TCX_PASS : forward(skb, p);
}

SEC("tcx/ingress")
int from_net(struct __sk_buff *skb)
{
	struct pkt p;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(skb);
	if (!is_ip(skb) || parse(skb, &p))
		return TCX_PASS; /* what cannot be read cannot belong to a Service */
	if (p.kind == KIND_NEIGHBOUR)
		return answer_ndp(skb, &p);
	if (p.kind == KIND_ICMP_ERROR)
		return related(skb, &p, true);
	struct conn *c = find(&p.t, SCOPE_NODE);
	if (!c || !(c->flags & CONN_NAT))
		return open_service(skb, &p);
	if (stale(c, &p)) {
		forget(&p.t, c);
		return open_service(skb, &p);
	}
	touch(c, &p, false);
	bool redirect = c->flags & CONN_REDIRECT;
	struct tuple to = c->to;
	int reason = rewrite(skb, &p, &to);
	if (reason)
		return drop(reason);
	return redirect ? forward(skb, &p) : TCX_PASS;
}

static __always_inline __u32 net_of(const struct addr *a)
{
	struct prefix_key k = {.prefixlen = 128, .addr = *a};
	__u32 *flags = bpf_map_lookup_elem(&nets, &k);
	return flags ? *flags : 0;
}

/* A pod's packet to the world gets the node's address, unless it answers
 * somebody who came to the pod by its own. */
__global int masquerade(struct __sk_buff *skb, struct pkt *p)
{
	if (!p || net_of(&p->t.dst) || !(net_of(&p->t.src) & NET_LOCAL_POD))
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
	if (!c || !(c->flags & CONN_NAT))
		return masquerade(skb, &p);
	touch(c, &p, false);
	struct tuple to = c->to;
	int reason = rewrite(skb, &p, &to);
	return reason ? drop(reason) : TCX_PASS;
}
