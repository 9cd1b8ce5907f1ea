/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Sockets on this node (cgroup hooks).
 *
 *   connect   a Service's address becomes a backend's before the first packet
 *             exists: from then on the flow is one from pod to pod
 *   sendmsg   the same for each datagram of an unconnected UDP socket
 *   recvmsg, getpeername
 *             the backend becomes the Service again in what the program sees
 *   sock_release
 *             what was known of a TCP socket is forgotten
 *
 * Of a TCP socket there is an entry in a hash, which costs half of what storage
 * in the socket does (two allocations that are accounted, and given back by RCU):
 * of all that is done for a connection to a Service it was the dearest part.
 *
 * Whatever is not a Service passes untouched. So does what would get in its own
 * way, two Services with one backend by one local port: the packet hooks, which
 * can give it another port, translate it. A frontend with source ranges is
 * left to the packet hooks where the source is a pod's: here it is not known. */
#include "lib/lb.h"

enum { REFUSE = 0, PROCEED = 1 };

/* The address in the socket call, in one width. */
static __always_inline struct addr user_addr(const struct bpf_sock_addr *ctx, bool v6)
{
	if (!v6)
		return addr4(ctx->user_ip4);
	return (struct addr){{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
}

static __always_inline void set_user_addr(struct bpf_sock_addr *ctx, bool v6, const struct addr *a, __be16 port)
{
	if (v6) {
		ctx->user_ip6[0] = a->w[0];
		ctx->user_ip6[1] = a->w[1];
		ctx->user_ip6[2] = a->w[2];
		ctx->user_ip6[3] = a->w[3];
	} else {
		ctx->user_ip4 = a->w[3];
	}
	ctx->user_port = port;
}

/* For affinity a pod is one client, whatever its addresses. The first word
 * cannot begin an address (RFC 4291: ff00::/8 is multicast). */
static __always_inline struct addr client_of(struct bpf_sock_addr *ctx)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	return (struct addr){{0xffffffff, 0, netns, netns >> 32}};
}

/* Whether a restricted frontend can be decided here: for the node's own
 * processes, whose source is the node's address. */
static __always_inline bool decidable(struct bpf_sock_addr *ctx, const struct frontend *fe, bool v6, bool *deny)
{
	*deny = false;
	if (!(fe->flags & FE_RESTRICTED))
		return true;
	if (bpf_get_netns_cookie(ctx) != host_netns)
		return false;
	__u32 zero = 0;
	struct node *n = bpf_map_lookup_elem(&node, &zero);
	*deny = !n || !admitted(fe, v6 ? &n->ip6 : &n->ip4);
	return true;
}

static __always_inline bool to_service(const struct addr *vip, __be16 vport, const struct addr *dst, __be16 port)
{
	return vport == port && same(vip, dst);
}

static __always_inline void bound_to(struct bpf_sock_addr *ctx, __u16 lport, const struct addr *backend, __be16 bport, struct bound_key *k)
{
	*k = (struct bound_key){.netns = bpf_get_netns_cookie(ctx), .backend = *backend, .bport = bport, .lport = lport, .proto = ctx->protocol};
}

/* Whether what is to become of a connect from lport (0: any), or of a datagram of a socket with the
 * peers ps, cannot be told from what another Service's already is. */
static __always_inline bool taken(struct bpf_sock_addr *ctx, const struct peers *ps, __u16 lport, const struct addr *dst, const struct backend *b)
{
	if (ps) {
		for (int i = 0; i < NUM_PEERS; i++) {
			const struct peer *p = &ps->p[i];
			if (p->vport && p->bport == b->port && same(&p->backend, &b->addr) && !to_service(&p->vip, p->vport, dst, ctx->user_port))
				return true;
		}
		return false;
	}
	if (!lport)
		return false;
	struct bound_key k;
	bound_to(ctx, lport, &b->addr, b->port, &k);
	struct bound *o = bpf_map_lookup_elem(&bound, &k);
	return o && !to_service(&o->vip, o->vport, dst, ctx->user_port);
}

enum { CHOICES = 8 };

/* translate finds the peer for dst. PROCEED with pr->vport 0: not a Service, or
 * one for the packet hooks. ps, lport: see taken. */
static __always_inline int translate(struct bpf_sock_addr *ctx, const struct addr *dst, const struct peers *ps, __u16 lport, struct peer *pr)
{
	/* The node's loopback is a frontend to the node. A pod's is its own. */
	if (is_local(dst) && bpf_get_netns_cookie(ctx) != host_netns)
		return PROCEED;
	struct frontend *fe = frontend_of(dst, ctx->user_port, ctx->protocol);
	struct backend b;
	bool deny;
	if (!fe || !decidable(ctx, fe, !is4(dst), &deny))
		return PROCEED;
	if (deny) {
		bpf_set_retval(-EHOSTUNREACH);
		return REFUSE;
	}
	struct addr client = client_of(ctx);
	bool clash = false;
	int reason = DROP_NONE;
	for (int i = 0; i < CHOICES; i++) {
		reason = choose(fe, true, &client, &b);
		clash = !reason && taken(ctx, ps, lport, dst, &b);
		if (!clash)
			break;
	}
	if (reason == DROP_NO_LOCAL_ENDPOINTS) {
		bpf_set_retval(-EHOSTUNREACH); /* kube-proxy drops: the client would wait for nothing */
		return REFUSE;
	}
	if (reason) {
		bpf_set_retval(-ECONNREFUSED);
		return REFUSE;
	}
	if (clash)
		return PROCEED;
	pr->vip = *dst;
	pr->vport = ctx->user_port;
	pr->backend = b.addr;
	pr->bport = b.port;
	pr->service = fe->service;
	return PROCEED;
}

/* Where the agent has to look for sockets when a backend goes. */
static __always_inline void note_talker(struct bpf_sock_addr *ctx, const struct addr *backend)
{
	struct talker_key k = {.netns = bpf_get_netns_cookie(ctx), .backend = *backend};
	__u32 one = 1;
	if (!bpf_map_lookup_elem(&talkers, &k))
		bpf_map_update_elem(&talkers, &k, &one, BPF_ANY);
}

/* Notes whom a socket talks to. What it cannot note is not known later: the
 * program sees the backend as its peer, and waits for its timeout when that goes. */
static __always_inline void note_peer(struct bpf_sock_addr *ctx, const struct peer *pr)
{
	if (ctx->protocol == PROTO_TCP) {
		struct tcp_peer t = {.peer = *pr, .netns = bpf_get_netns_cookie(ctx)};
		__u64 cookie = bpf_get_socket_cookie(ctx);
		bpf_map_update_elem(&tcp_peers, &cookie, &t, BPF_ANY);
		return;
	}
	struct peer *p = bpf_sk_storage_get(&sock_peer, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (p)
		*p = *pr;
	note_talker(ctx, &pr->backend);
}

static __always_inline int on_connect(struct bpf_sock_addr *ctx, bool v6)
{
	struct peer pr = {};
	struct addr dst = user_addr(ctx, v6);
	__u16 lport = ctx->sk->src_port;
	if (ctx->protocol != PROTO_TCP && ctx->protocol != PROTO_UDP)
		return PROCEED;
	if (!translate(ctx, &dst, NULL, lport, &pr))
		return REFUSE;
	if (!pr.vport) {
		/* Of a connect before this one. That a TCP socket has had one, which
		 * failed, is so rare that reap_tcp looks where it leads instead. */
		if (ctx->protocol == PROTO_UDP)
			bpf_sk_storage_delete(&sock_peer, ctx->sk);
		return PROCEED;
	}
	note_peer(ctx, &pr);
	if (lport) {
		struct bound_key k;
		struct bound b = {.vip = pr.vip, .vport = pr.vport};
		bound_to(ctx, lport, &pr.backend, pr.bport, &k);
		bpf_map_update_elem(&bound, &k, &b, BPF_ANY);
	}
	set_user_addr(ctx, v6, &pr.backend, pr.bport);
	return PROCEED;
}

/* The peer that a UDP socket has for dst, if that still serves. */
static __always_inline struct peer *peer_to(struct peers *ps, const struct addr *dst, __be16 port)
{
	for (int i = 0; i < NUM_PEERS; i++) {
		struct peer *p = &ps->p[i];
		if (p->vport == port && same(&p->vip, dst)) {
			ps->last = i;
			return serves(p->service, &p->backend, p->bport) ? p : NULL;
		}
	}
	return NULL;
}

static __always_inline void remember(struct peers *ps, const struct peer *pr)
{
	__u16 at = ps->next;
	for (int i = 0; i < NUM_PEERS; i++)
		if (ps->p[i].vport == pr->vport && same(&ps->p[i].vip, &pr->vip))
			at = i;
	if (at == ps->next)
		ps->next = (at + 1) % NUM_PEERS;
	ps->last = at;
	ps->p[at % NUM_PEERS] = *pr;
}

static __always_inline int on_sendmsg(struct bpf_sock_addr *ctx, bool v6)
{
	struct peer pr = {};
	struct addr dst = user_addr(ctx, v6);
	struct peers *ps = bpf_sk_storage_get(&sock_peers, ctx->sk, NULL, 0);
	struct peer *p = ps ? peer_to(ps, &dst, ctx->user_port) : NULL;
	if (p) {
		set_user_addr(ctx, v6, &p->backend, p->bport);
		return PROCEED;
	}
	if (!translate(ctx, &dst, ps, 0, &pr))
		return REFUSE;
	if (!pr.vport)
		return PROCEED;
	if (!ps)
		ps = bpf_sk_storage_get(&sock_peers, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (ps)
		remember(ps, &pr);
	set_user_addr(ctx, v6, &pr.backend, pr.bport);
	return PROCEED;
}

/* The source of a datagram, or the peer, as the program knows it. */
static __always_inline int on_source(struct bpf_sock_addr *ctx, bool v6)
{
	struct addr src = user_addr(ctx, v6);
	__be16 port = ctx->user_port;
	struct peer *p;
	if (ctx->protocol == PROTO_TCP) {
		__u64 cookie = bpf_get_socket_cookie(ctx);
		p = bpf_map_lookup_elem(&tcp_peers, &cookie);
	} else {
		p = bpf_sk_storage_get(&sock_peer, ctx->sk, NULL, 0);
	}
	if (p && p->bport == port && same(&p->backend, &src)) {
		set_user_addr(ctx, v6, &p->vip, p->vport);
		return PROCEED;
	}
	struct peers *ps = bpf_sk_storage_get(&sock_peers, ctx->sk, NULL, 0);
	if (!ps)
		return PROCEED;
	for (__u32 i = 0; i < NUM_PEERS; i++) {
		p = &ps->p[(ps->last + i) % NUM_PEERS];
		if (p->vport && p->bport == port && same(&p->backend, &src)) {
			set_user_addr(ctx, v6, &p->vip, p->vport);
			return PROCEED;
		}
	}
	return PROCEED;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx) { return on_connect(ctx, false); }

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx) { return on_connect(ctx, true); }

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx) { return on_sendmsg(ctx, false); }

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx) { return on_sendmsg(ctx, true); }

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx) { return on_source(ctx, false); }

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx) { return on_source(ctx, true); }

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx) { return on_source(ctx, false); }

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx) { return on_source(ctx, true); }

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *sk)
{
	if (sk->protocol == PROTO_TCP) {
		__u64 cookie = bpf_get_socket_cookie(sk);
		bpf_map_delete_elem(&tcp_peers, &cookie);
	}
	return PROCEED;
}
