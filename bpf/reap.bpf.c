/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Connected UDP sockets whose backend is gone (BPF iterators, run by the agent
 * when an endpoint of a UDP port vanishes). No hook sees what such a socket
 * sends, so it would talk to nobody for as long as the program keeps it:
 * resolvers keep theirs for days. TCP notices by itself, and its connections
 * are to survive when an endpoint merely leaves the Service.
 *
 *   orphans   lists the network namespaces that have such sockets
 *   reap      destroys them, in the namespace of who reads it: their programs
 *             get ECONNABORTED and make new ones
 */
#include "lib/lb.h"

/* Of the kernel's own types only what is read; the loader finds the offsets. */
#define KERNEL_TYPE __attribute__((preserve_access_index))

struct ns_common {
	unsigned int inum;
} KERNEL_TYPE;

struct net {
	struct ns_common ns;
} KERNEL_TYPE;

typedef struct {
	struct net *net;
} KERNEL_TYPE possible_net_t;

struct sock_common {
	possible_net_t skc_net;
} KERNEL_TYPE;

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
} KERNEL_TYPE;

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} KERNEL_TYPE;

struct iter_storage {
	struct bpf_iter_meta *meta;
	void *map;
	struct sock *sk;
	struct peer *value;
};

struct udp_sock;

struct iter_udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *sk;
};

extern int bpf_sock_destroy(struct sock_common *sk) SEC(".ksyms");

static __always_inline bool orphaned(const struct peer *p)
{
	return p->vport && !serves(p->service, &p->backend, p->bport);
}

SEC("iter/bpf_sk_storage_map")
int orphans(struct iter_storage *ctx)
{
	struct sock *sk = ctx->sk;
	struct peer *value = ctx->value, p;
	if (!sk || !value || sk->sk_protocol != PROTO_UDP)
		return 0;
	p = *value;
	if (!orphaned(&p))
		return 0;
	__u32 inode = sk->__sk_common.skc_net.net->ns.inum;
	bpf_seq_write(ctx->meta->seq, &inode, sizeof(inode));
	return 0;
}

SEC("iter/udp")
int reap(struct iter_udp *ctx)
{
	struct udp_sock *sk = ctx->sk;
	if (!sk)
		return 0;
	struct peer *value = bpf_sk_storage_get(&sock_peer, sk, NULL, 0);
	if (value && orphaned(value))
		bpf_sock_destroy((struct sock_common *)sk);
	return 0;
}
