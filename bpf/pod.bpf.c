/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The host side of a pod's link (filters of clsact).
 *
 *   from_pod (ingress)  1. only the pod's own addresses may be sources
 *                       2. a Service that the socket hooks did not see (raw
 *                          sockets, ranges, other clients): rewritten
 *                       3. egress policy, on the backend's address
 *   to_pod (egress)     1. ingress policy, on the source as it arrives
 *                       2. replies of a rewritten flow: rewritten back
 *
 * Flows are recorded at each pod for itself, keyed by the opener's packet:
 * SCOPE_POD_OUT where this pod opened them, SCOPE_POD_IN where its peer did.
 * Only replies pass on the strength of an entry; each packet of the opener is
 * judged by the policy of the moment, so that a change of policy is felt by
 * connections that are open already. */
#include "lib/lb.h"
#include "lib/nat.h"
#include "lib/policy.h"
#include "lib/reject.h"

static __always_inline bool own(const struct endpoint *ep, const struct addr *a)
{
	return same(a, &ep->ip4) || (same(a, &ep->ip6) && !is_zero(a));
}

/* An ICMP error passes if it is about a flow of the pod. */
static __always_inline bool about_flow(struct tuple *inner, __u8 same_way, __u8 other_way)
{
	return find(inner, same_way) || find_reverse(inner, other_way);
}

/* About what the pod has sent to itself. */
__global int hairpin_error(struct __sk_buff *skb, struct pkt *p, struct pkt *inner)
{
	struct tuple to;
	if (!p || !inner)
		return TCX_DROP;
	struct conn *c = find(&inner->t, SCOPE_POD_OUT);
	if (!c || !(c->flags & CONN_ORIGIN))
		return TCX_PASS;
	reverse(&to, &c->to);
	int reason = rewrite_error(skb, p, inner, &to);
	return reason ? drop(reason) : bounce(skb, 0);
}

/* About an answer of a Service to the pod; TCX_NEXT: there was none. */
__global int error_to_service(struct __sk_buff *skb, struct pkt *p, struct pkt *inner)
{
	struct tuple to;
	if (!p || !inner)
		return TCX_DROP;
	struct conn *c = find_reverse(&inner->t, SCOPE_POD_OUT);
	if (!c || !(c->flags & CONN_NAT))
		return TCX_NEXT;
	to = c->to;
	bool hairpin = same(&p->t.src, &to.dst);
	int reason = rewrite_error(skb, p, inner, &to);
	if (reason)
		return drop(reason);
	return hairpin ? bounce(skb, 0) : TCX_PASS;
}

/* About what the node has sent to the pod, perhaps through a Service. */
__global int error_to_node(struct __sk_buff *skb, struct pkt *p, struct pkt *inner)
{
	struct tuple to;
	if (!p || !inner)
		return TCX_DROP;
	struct conn *c = find_reverse(&inner->t, SCOPE_NODE);
	if (!c || !(c->flags & CONN_NAT))
		return TCX_PASS;
	to = c->to;
	int reason = rewrite_error(skb, p, inner, &to);
	return reason ? drop(reason) : TCX_PASS;
}

__global int error_from_pod(struct __sk_buff *skb, struct pkt *p, const struct endpoint *ep)
{
	struct pkt inner;
	if (!p || !ep || parse_inner(skb, p, &inner))
		return drop(DROP_MALFORMED);
	bool to_node = is_node(&inner.t.src);
	if (to_node && find(&inner.t, SCOPE_POD_OUT))
		return hairpin_error(skb, p, &inner);
	if (ep->egress != POLICY_NONE && !about_flow(&inner.t, SCOPE_POD_IN, SCOPE_POD_OUT))
		return drop(DROP_POLICY_EGRESS);
	int verdict = error_to_service(skb, p, &inner);
	if (verdict != TCX_NEXT)
		return verdict;
	return to_node ? error_to_node(skb, p, &inner) : TCX_PASS;
}

__global int error_to_pod(struct __sk_buff *skb, struct pkt *p, const struct endpoint *ep)
{
	struct pkt inner;
	if (!p || !ep || parse_inner(skb, p, &inner))
		return drop(DROP_MALFORMED);
	struct tuple t = inner.t;
	struct conn *c = find(&t, SCOPE_POD_OUT);
	if (c && c->flags & CONN_ORIGIN) {
		struct tuple to;
		reverse(&to, &c->to);
		int reason = rewrite_error(skb, p, &inner, &to);
		return reason ? drop(reason) : TCX_PASS;
	}
	if (c || ep->ingress == POLICY_NONE || !skb->ingress_ifindex || find_reverse(&inner.t, SCOPE_POD_IN))
		return TCX_PASS;
	return drop(DROP_POLICY_INGRESS);
}

/* Judges a packet of a flow that the pod opens. */
static __always_inline bool may_send(const struct endpoint *ep, const struct tuple *t)
{
	return allowed(ep->egress, &t->dst, t->proto, t->dport);
}

/* open_from_pod handles the first packet of a flow. */
__global int open_from_pod(struct __sk_buff *skb, struct pkt *p, const struct endpoint *ep)
{
	struct backend b;
	if (!p || !ep)
		return TCX_DROP;
	struct frontend *fe = frontend_of(&p->t.dst, p->t.dport, p->t.proto);
	if (!fe) {
		if (net_of(&p->t.dst) & NET_SERVICE)
			return drop(DROP_UNALLOCATED);
		if (!may_send(ep, &p->t))
			return drop(DROP_POLICY_EGRESS);
		track(&p->t);
		return TCX_PASS;
	}
	if (midway(p))
		return refuse(skb, p, DROP_NO_FLOW, 0);
	if (!admitted(fe, &p->t.src))
		return drop(DROP_SOURCE_RANGE);
	int reason = choose(fe, true, &p->t.src, &b);
	if (reason)
		return refuse(skb, p, reason, 0);
	struct tuple to = p->t;
	to.dst = b.addr;
	to.dport = b.port;
	/* The backend is the pod itself: it would take nothing from its own address,
	 * and as by its loopback, there is no policy. */
	bool hairpin = same(&to.src, &to.dst);
	if (hairpin) {
		struct addr *own = node_addr(p->v6);
		if (!own)
			return drop(DROP_NO_ROUTE);
		to.src = *own;
	} else if (!may_send(ep, &to)) {
		return drop(DROP_POLICY_EGRESS);
	}
	reason = reserve(&p->t, &to, CONN_NAT, fe->service, true);
	if (!reason)
		reason = rewrite(skb, p, &to);
	if (reason)
		return drop(reason);
	return hairpin ? bounce(skb, 0) : TCX_PASS;
}

/* A packet that a rewritten flow's opener sends. */
__global int rewritten_from_pod(struct __sk_buff *skb, struct pkt *p, struct conn *c, const struct endpoint *ep)
{
	if (!p || !c || !ep)
		return TCX_DROP;
	if (vanished(c, p))
		return refuse(skb, p, DROP_BACKEND_GONE, 0);
	struct tuple to = c->to;
	bool hairpin = same(&p->t.src, &to.dst);
	if (!hairpin && !may_send(ep, &to))
		return drop(DROP_POLICY_EGRESS);
	touch(c, p, false);
	int reason = rewrite(skb, p, &to);
	if (reason)
		return drop(reason);
	c = find(&to, SCOPE_POD_OUT);
	if (c)
		touch(c, p, false);
	return hairpin ? bounce(skb, 0) : TCX_PASS;
}

/* What the pod answers itself. */
__global int hairpin_reply(struct __sk_buff *skb, struct pkt *p)
{
	struct tuple to;
	if (!p)
		return TCX_DROP;
	struct conn *c = find_reverse(&p->t, SCOPE_POD_OUT);
	if (!c || !(c->flags & CONN_ORIGIN))
		return TCX_PASS;
	touch(c, p, true);
	reverse(&to, &c->to);
	int reason = rewrite(skb, p, &to);
	return reason ? drop(reason) : bounce(skb, 0);
}

/* What the pod answers its own node, which may have asked a Service. */
__global int reply_to_node(struct __sk_buff *skb, struct pkt *p)
{
	if (!p)
		return TCX_DROP;
	struct conn *c = find(&p->t, SCOPE_NODE);
	if (!c || !(c->flags & CONN_NAT))
		return TCX_PASS;
	touch(c, p, false);
	struct tuple to = c->to;
	int reason = rewrite(skb, p, &to);
	return reason ? drop(reason) : TCX_PASS;
}

SEC("tcx/ingress")
int from_pod(struct __sk_buff *skb)
{
	struct pkt p;
	__u32 ifindex = skb->ifindex;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return TCX_PASS;
	if (!is_ip(skb))
		return drop(DROP_MALFORMED);
	struct endpoint *ep = bpf_map_lookup_elem(&endpoints, &ifindex);
	if (!ep)
		return drop(DROP_POD_UNKNOWN);
	int reason = parse(skb, &p);
	if (reason)
		return drop(reason);
	if (p.kind == KIND_NEIGHBOUR)
		return TCX_PASS;
	if (!own(ep, &p.t.src))
		return drop(DROP_SPOOFED);
	if (p.kind == KIND_ICMP_ERROR)
		return error_from_pod(skb, &p, ep);

	struct conn *c = find(&p.t, SCOPE_POD_OUT);
	if (c && c->flags & CONN_NAT)
		return renewed(&p, c) ? open_from_pod(skb, &p, ep) : rewritten_from_pod(skb, &p, c, ep);
	if (c && p.opens && c->flags & CONN_ORIGIN && outlived(&p.t, c))
		c = NULL;
	if (c) {
		if (!may_send(ep, &p.t))
			return drop(DROP_POLICY_EGRESS);
		touch(c, &p, false);
		return TCX_PASS;
	}
	c = find_reverse(&p.t, SCOPE_POD_IN);
	bool to_node = is_node(&p.t.dst);
	if (c) {
		touch(c, &p, true);
		return to_node ? reply_to_node(skb, &p) : TCX_PASS;
	}
	if (to_node && find_reverse(&p.t, SCOPE_POD_OUT))
		return hairpin_reply(skb, &p);
	if (awaited(&p))
		return drop(DROP_HANDOVER);
	if (ep->egress == POLICY_CLOSED)
		return drop(DROP_POD_UNKNOWN);
	return open_from_pod(skb, &p, ep);
}

/* A reply to a flow that the pod opened. */
static __always_inline int reply_to_pod(struct __sk_buff *skb, struct pkt *p, struct conn *c)
{
	touch(c, p, true);
	if (!(c->flags & CONN_ORIGIN))
		return TCX_PASS;
	struct tuple to;
	reverse(&to, &c->to);
	int reason = rewrite(skb, p, &to);
	return reason ? drop(reason) : TCX_PASS;
}

SEC("tcx/egress")
int to_pod(struct __sk_buff *skb)
{
	struct pkt p;
	__u32 ifindex = skb->ifindex;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return TCX_PASS;
	if (!is_ip(skb))
		return drop(DROP_MALFORMED);
	struct endpoint *ep = bpf_map_lookup_elem(&endpoints, &ifindex);
	if (!ep)
		return drop(DROP_POD_UNKNOWN);
	int reason = parse(skb, &p);
	if (reason)
		return drop(reason);
	if (p.kind == KIND_NEIGHBOUR || skb->ingress_ifindex == ifindex)
		return TCX_PASS; /* out of its own link and back into it: our refusal (lib/reject.h) */
	if (p.kind == KIND_ICMP_ERROR)
		return error_to_pod(skb, &p, ep);

	struct conn *c = find_reverse(&p.t, SCOPE_POD_OUT);
	if (c)
		return reply_to_pod(skb, &p, c);
	c = find(&p.t, SCOPE_POD_IN);
	if (!c && awaited(&p))
		return drop(DROP_HANDOVER);
	/* A packet that came in by no device is the node's own: its kubelet must
	 * reach the pod whatever the policy (NetworkPolicySpec.ingress). */
	if (skb->ingress_ifindex && !allowed(ep->ingress, &p.t.src, p.t.proto, p.t.dport))
		return drop(ep->ingress == POLICY_CLOSED ? DROP_POD_UNKNOWN : DROP_POLICY_INGRESS);
	if (c)
		touch(c, &p, false);
	else
		track(&p.t);
	return TCX_PASS;
}
