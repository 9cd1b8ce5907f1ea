/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Changing packets: addresses, ports and the checksums over them. One path for
 * both families: in ::ffff:a.b.c.d the parts that differ are those of IPv4. */
#pragma once
#include "conn.h"
#include "crc.h"

static __always_inline int store_addrs(struct __sk_buff *skb, __u32 l3, bool v6, const struct tuple *to)
{
	if (v6)
		return bpf_skb_store_bytes(skb, l3 + 8, &to->src, 32, 0);
	__be32 pair[2] = {to->src.w[3], to->dst.w[3]};
	return bpf_skb_store_bytes(skb, l3 + 12, pair, sizeof(pair), 0);
}

/* Where the transport keeps its checksum; 0: none to mend. */
static __always_inline __u32 csum_at(const struct pkt *p)
{
	switch (p->t.proto) {
	case PROTO_TCP:
		return p->l4 + 16;
	case PROTO_UDP:
		return p->udp_no_csum ? 0 : p->l4 + 6;
	case PROTO_ICMP:
	case PROTO_ICMP6:
		return p->l4 + 2;
	}
	return 0; /* SCTP's CRC does not cover addresses */
}

/* What stands for ports: both, or the id of an echo. */
static __always_inline int rewrite_ports(struct __sk_buff *skb, const struct pkt *p, const struct tuple *to)
{
	__u32 csum = csum_at(p);
	if (p->t.sport == to->sport && p->t.dport == to->dport)
		return 0;
	if (p->t.proto == PROTO_ICMP || p->t.proto == PROTO_ICMP6) {
		__be16 from = p->t.sport ? p->t.sport : p->t.dport, id = p->t.sport ? to->sport : to->dport;
		return bpf_l4_csum_replace(skb, csum, from, id, 2) || bpf_skb_store_bytes(skb, p->l4 + 4, &id, 2, 0);
	}
	__u32 from = p->t.sport | (__u32)p->t.dport << 16, ports = to->sport | (__u32)to->dport << 16;
	if (p->t.proto == PROTO_SCTP && mend_crc(skb, p, from ^ ports))
		return -1;
	__u64 flags = 4 | (p->t.proto == PROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0);
	if (csum && bpf_l4_csum_replace(skb, csum, from, ports, flags))
		return -1;
	return bpf_skb_store_bytes(skb, p->l4, &ports, 4, 0);
}

/* Mends a transport checksum for other addresses. IPv6 has no header checksum
 * that would make up for them in what a device has summed over the whole
 * packet; kernels that know the flag take that into account. */
static __always_inline int mend_addrs(struct __sk_buff *skb, const struct pkt *p, __s64 diff)
{
	__u32 csum = csum_at(p);
	__u64 flags = BPF_F_PSEUDO_HDR | (p->t.proto == PROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0);
	if (!csum || p->t.proto == PROTO_ICMP)
		return 0;
	if (p->v6 && !bpf_l4_csum_replace(skb, csum, 0, diff, flags | BPF_F_IPV6))
		return 0;
	return bpf_l4_csum_replace(skb, csum, 0, diff, flags);
}

/* rewrite turns the packet into *to, and p with it. Returns a drop reason. */
__global int rewrite(struct __sk_buff *skb, struct pkt *p, const struct tuple *to)
{
	if (!p || !to)
		return DROP_REWRITE;
	__s64 diff = bpf_csum_diff(&p->t.src, 32, &to->src, 32, 0);
	if (!p->v6 && bpf_l3_csum_replace(skb, p->l3 + 10, 0, diff, 0))
		return DROP_REWRITE;
	if (store_addrs(skb, p->l3, p->v6, to))
		return DROP_REWRITE;
	if (!p->later_frag) {
		if (mend_addrs(skb, p, diff))
			return DROP_REWRITE;
		if (rewrite_ports(skb, p, to))
			return DROP_REWRITE;
	}
	p->t.src = to->src;
	p->t.dst = to->dst;
	p->t.sport = to->sport;
	p->t.dport = to->dport;
	return DROP_NONE;
}

/* rewrite_error changes an ICMP error and the packet it quotes, of which a
 * reply would have become *to. The quoted transport's own checksum is left:
 * often it is cut off, and receivers do not look at it. */
__global int rewrite_error(struct __sk_buff *skb, struct pkt *p, const struct pkt *inner, const struct tuple *to)
{
	struct tuple want;
	if (!p || !inner || !to)
		return DROP_REWRITE;
	reverse(&want, to);
	__u32 csum = p->l4 + 2;
	__s64 diff = bpf_csum_diff(&inner->t.src, 32, &want.src, 32, 0);
	if (p->v6) { /* in IPv4 the quoted header's own checksum makes up for it */
		if (bpf_l4_csum_replace(skb, csum, 0, diff, 0))
			return DROP_REWRITE;
	} else if (bpf_l3_csum_replace(skb, inner->l3 + 10, 0, diff, 0)) {
		return DROP_REWRITE;
	}
	if (store_addrs(skb, inner->l3, p->v6, &want))
		return DROP_REWRITE;
	if (!inner->later_frag && has_ports(inner->t.proto)) {
		bool echo = inner->t.proto == PROTO_ICMP || inner->t.proto == PROTO_ICMP6;
		__u32 from = inner->t.sport | (__u32)inner->t.dport << 16, ports = want.sport | (__u32)want.dport << 16;
		if (echo) {
			from = inner->t.sport | inner->t.dport;
			ports = want.sport | want.dport;
		}
		if (bpf_l4_csum_replace(skb, csum, from, ports, 4))
			return DROP_REWRITE;
		if (echo ? bpf_skb_store_bytes(skb, inner->l4 + 4, &ports, 2, 0) : bpf_skb_store_bytes(skb, inner->l4, &ports, 4, 0))
			return DROP_REWRITE;
	}
	want = p->t;
	want.dst = to->dst;
	if (same(&p->t.src, &inner->t.dst)) /* the other end itself complains, not a router on the way */
		want.src = to->src;
	return rewrite(skb, p, &want);
}

/* One hop further: forwarding past the stack has to do it itself. */
static __always_inline int age(struct __sk_buff *skb, struct pkt *p)
{
	if (p->ttl <= 1)
		return DROP_TTL;
	__u8 ttl = p->ttl - 1;
	if (p->v6)
		return bpf_skb_store_bytes(skb, p->l3 + 7, &ttl, 1, 0) ? DROP_REWRITE : DROP_NONE;
	__u16 from = p->ttl | p->t.proto << 8, now = ttl | p->t.proto << 8; /* neighbours in the header */
	if (bpf_l3_csum_replace(skb, p->l3 + 10, from, now, 2) || bpf_skb_store_bytes(skb, p->l3 + 8, &ttl, 1, 0))
		return DROP_REWRITE;
	return DROP_NONE;
}

/* forward sends a packet where its new destination says, past the stack, which
 * costs more and would drop one of its own addresses as a source. ours: the
 * source is such a one; otherwise the stack may say what is wrong. */
__global int forward(struct __sk_buff *skb, struct pkt *p, bool ours)
{
	struct bpf_fib_lookup fib = {};
	struct bpf_redir_neigh next = {};
	if (!p)
		return drop(DROP_REWRITE);
	fib.family = p->v6 ? AF_INET6 : AF_INET;
	fib.l4_protocol = p->t.proto;
	fib.ifindex = skb->ifindex;
	if (p->v6) {
		__builtin_memcpy(fib.src, p->t.src.w, 16);
		__builtin_memcpy(fib.dst, p->t.dst.w, 16);
	} else {
		fib.src[0] = p->t.src.w[3];
		fib.dst[0] = p->t.dst.w[3];
	}
	long err = bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_SKIP_NEIGH);
	if (err == BPF_FIB_LKUP_RET_NOT_FWDED || err == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return TCX_PASS; /* for the host itself */
	if (err == BPF_FIB_LKUP_RET_FRAG_NEEDED && !ours)
		return TCX_PASS;
	if (err != BPF_FIB_LKUP_RET_SUCCESS && err != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(DROP_NO_ROUTE);
	int reason = age(skb, p);
	if (reason)
		return drop(reason);
	next.nh_family = fib.family;
	__builtin_memcpy(next.nh, fib.dst, sizeof(next.nh));
	return bpf_redirect_neigh(fib.ifindex, &next, sizeof(next), 0);
}
