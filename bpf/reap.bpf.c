/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Connected sockets whose backend is gone (BPF iterators, run by the agent in
 * the network namespaces that the map talkers names, see reap.go). No hook sees
 * what such a socket sends:
 *
 *   reap_udp  a UDP socket whose backend serves no more would talk to nobody for
 *             as long as the program keeps it; resolvers keep theirs for days
 *   reap_tcp  a TCP socket whose pod is gone would wait for an answer for as long
 *             as the kernel sends again. An endpoint that merely left the Service
 *             keeps its connections.
 *
 * Their programs get ECONNABORTED and make new ones. */
#include "lib/lb.h"

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
} __attribute__((preserve_access_index));

struct sock_common {
	__u16 skc_family;
	__be32 skc_daddr;
	struct in6_addr skc_v6_daddr;
} __attribute__((preserve_access_index));

struct udp_sock;

struct iter_udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *sk;
};

struct iter_tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk;
};

extern int bpf_sock_destroy(struct sock_common *sk) SEC(".ksyms");

SEC("iter/udp")
int reap_udp(struct iter_udp *ctx)
{
	struct udp_sock *sk = ctx->sk;
	if (!sk)
		return 0;
	struct peer *p = bpf_sk_storage_get(&sock_peer, sk, NULL, 0);
	if (p && p->vport && !serves(p->service, &p->backend, p->bport))
		bpf_sock_destroy((struct sock_common *)sk);
	return 0;
}

/* Whether a socket's connection is to a, as IPv4 or in one width. */
static __always_inline bool leads_to(struct sock_common *sk, const struct addr *a)
{
	struct addr to = addr4(sk->skc_daddr);
	if (sk->skc_family == AF_INET6)
		for (int i = 0; i < 4; i++)
			to.w[i] = sk->skc_v6_daddr.in6_u.u6_addr32[i];
	return same(&to, a);
}

SEC("iter/tcp")
int reap_tcp(struct iter_tcp *ctx)
{
	struct sock_common *sk = ctx->sk;
	if (!sk)
		return 0;
	__u64 cookie = bpf_get_socket_cookie(sk);
	struct tcp_peer *t = bpf_map_lookup_elem(&tcp_peers, &cookie);
	if (t && pod_gone(&t->peer.backend) && leads_to(sk, &t->peer.backend))
		bpf_sock_destroy(sk);
	return 0;
}
