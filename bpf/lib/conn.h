/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The connection table. Entries are written and refreshed here; the agent only
 * sweeps out those whose time is over (sweep.go), so that nothing lives or dies
 * by a picture of the table taken in user space. */
#pragma once
#include "lb.h"
#include "parse.h"

enum { SECOND = 1000000000 };

static __always_inline bool closing(const struct conn *c)
{
	return c->flags & (CONN_FIN | CONN_FIN_REV | CONN_RST);
}

/* Notes a packet of c. The entry is only written if there is news, so that
 * flows on several CPUs do not fight for its cache line. */
static __always_inline void touch(struct conn *c, const struct pkt *p, bool reply)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	if (now - c->seen > SECOND)
		c->seen = now;
	__u32 flags = c->flags;
	if (reply || p->t.scope == SCOPE_NODE)
		flags |= CONN_REPLIED;
	if (p->t.proto == PROTO_TCP) {
		if (!reply && p->opens) /* the ports are used again */
			flags &= ~(CONN_FIN | CONN_FIN_REV | CONN_RST | CONN_REPLIED);
		if (p->tcp_flags & TCP_FIN)
			flags |= reply ? CONN_FIN_REV : CONN_FIN;
		if (p->tcp_flags & TCP_RST)
			flags |= CONN_RST;
	}
	if (flags != c->flags)
		c->flags = flags;
}

/* Whether the pod at the other end of a connection is gone. It is looked up when
 * the flow has been silent for a second, as is one that gets no answers, and not
 * for each packet. */
static __always_inline bool vanished(const struct conn *c, const struct pkt *p)
{
	return p->t.proto == PROTO_TCP && !p->opens && c->service && bpf_ktime_get_coarse_ns() - c->seen > SECOND && pod_gone(&c->to.dst);
}

enum { HANDSHAKE = 1500 * (SECOND / 1000) }; /* ns; longer than the first wait to send a SYN again (RFC 6298), shorter than the second */

/* Whether a packet gives its flow another backend: where this hurts nobody, for
 * each datagram, and for the first packet of a connection. A SYN that is sent
 * again stays with a backend that has left its Service meanwhile: the answer may
 * be on its way, and the other backend would refuse what the client makes of it. */
static __always_inline bool reopens(const struct conn *c, const struct pkt *p)
{
	if (!c->service || (!p->opens && p->t.proto != PROTO_UDP))
		return false;
	if (p->opens && closing(c))
		return true;
	if (serves(c->service, &c->to.dst, c->to.dport))
		return false;
	return !p->opens || bpf_ktime_get_coarse_ns() - c->seen > HANDSHAKE || pod_gone(&c->to.dst);
}

/* A connection of which nothing is known yet: TCP sends its packet again. */
static __always_inline bool awaited(const struct pkt *p)
{
	return handover && p->t.proto == PROTO_TCP && !p->opens;
}

/* Records a flow that is not rewritten. If the table is full the flow goes on
 * without an entry: its forward packets are judged by policy one by one. */
static __always_inline void track(const struct tuple *t)
{
	struct conn c = {.seen = bpf_ktime_get_coarse_ns()};
	bpf_map_update_elem(&conns, t, &c, BPF_NOEXIST);
}

static __always_inline struct conn *find(struct tuple *t, __u8 scope)
{
	t->scope = scope;
	return bpf_map_lookup_elem(&conns, t);
}

static __always_inline struct conn *find_reverse(const struct tuple *t, __u8 scope)
{
	struct tuple r;
	reverse(&r, t);
	r.scope = scope;
	return bpf_map_lookup_elem(&conns, &r);
}

static __always_inline bool has_ports(__u8 proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP || proto == PROTO_ICMP || proto == PROTO_ICMP6;
}

/* The key of the other entry of a rewritten flow: on the uplink the packet that
 * the answer will be, at a pod the packet as rewritten. */
static __always_inline void twin(struct tuple *key, const struct tuple *to)
{
	if (to->scope == SCOPE_NODE)
		reverse(key, to);
	else
		*key = *to;
}

static __always_inline void forget(const struct tuple *t, const struct conn *c)
{
	struct tuple key;
	twin(&key, &c->to);
	bpf_map_delete_elem(&conns, &key);
	bpf_map_delete_elem(&conns, t);
}

/* Whether a packet begins its flow anew; what was known of it is forgotten then. */
__global int renewed(const struct pkt *p, struct conn *c)
{
	if (!p || !c || !reopens(c, p))
		return false;
	forget(&p->t, c);
	return true;
}

/* A connection begins between the ends of one that a Service had, from the same
 * port, and was never for the Service. If the Service's is over, it is forgotten,
 * or its entry would make the answers look as if the Service had sent them. twin is
 * the entry's key: what the opener's packet had become, or on the uplink its answer.
 * Returns whether there is none any more. */
__global int outlived(const struct tuple *twin, const struct conn *c)
{
	if (!twin || !c)
		return false;
	const __u32 both = CONN_FIN | CONN_FIN_REV;
	__u32 flags = c->flags;
	if (twin->scope == SCOPE_NODE) { /* each entry has seen one direction */
		struct tuple in;
		reverse(&in, &c->to);
		struct conn *other = bpf_map_lookup_elem(&conns, &in);
		__u32 theirs = other ? other->flags : both;
		flags |= (theirs & CONN_RST) | (theirs & CONN_FIN ? CONN_FIN_REV : 0);
	}
	if (!(flags & CONN_RST) && (flags & both) != both)
		return false;
	forget(twin, c);
	return true;
}

enum { NAT_TRIES = 24 };

/* Makes the twin of a flow, which is what reserves a source port. Returns 0 if
 * it is there now, -EEXIST if another flow has it. */
__global int reserve_twin(const struct tuple *key, const struct conn *c)
{
	if (!key || !c)
		return -1;
	long err = bpf_map_update_elem(&conns, key, c, BPF_NOEXIST);
	if (err != -EEXIST)
		return err;
	struct conn *old = bpf_map_lookup_elem(&conns, key);
	if (old && old->flags & (CONN_NAT | CONN_ORIGIN) && same_flow(&old->to, &c->to))
		return 0; /* our own, left over from before */
	return -EEXIST;
}

/* reserve makes the two entries of a flow that is rewritten from in to *to, and
 * finds it a source port that no other flow to the same place has: the
 * client's own if keep, else one of the range. Where two CPUs race for one
 * flow, the loser takes over the winner's *to. Returns a drop reason. */
__global int reserve(const struct tuple *in, struct tuple *to, __u32 flags, __u32 service, bool keep)
{
	struct conn c = {.seen = bpf_ktime_get_coarse_ns(), .flags = flags};
	struct tuple key;
	long err = -EEXIST;

	if (!in || !to)
		return DROP_REWRITE;
	if (in->scope == SCOPE_NODE) {
		reverse(&c.to, in);
	} else {
		c.to = *in;
		c.flags = CONN_ORIGIN;
	}
	bool ports = has_ports(in->proto);
	for (int i = 0; i < NAT_TRIES && err == -EEXIST; i++) {
		if (ports && (i || !keep)) {
			__u32 port = nat_port_lo + bpf_get_prandom_u32() % (nat_port_hi - nat_port_lo + 1);
			to->sport = bpf_htons(port);
		}
		twin(&key, to);
		err = reserve_twin(&key, &c);
	}
	if (err)
		return err == -EEXIST ? DROP_NO_NAT_PORT : DROP_TABLE_FULL;

	c.to = *to;
	c.flags = flags;
	c.service = service;
	err = bpf_map_update_elem(&conns, in, &c, BPF_NOEXIST);
	if (!err)
		return DROP_NONE;
	struct conn *winner = bpf_map_lookup_elem(&conns, in);
	if (!winner || !same_flow(&winner->to, to))
		bpf_map_delete_elem(&conns, &key);
	if (err != -EEXIST || !winner)
		return DROP_TABLE_FULL;
	*to = winner->to;
	return DROP_NONE;
}
