/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Telling a client that nobody is there: a reset for TCP, ICMP port unreachable
 * for UDP and SCTP (RFC 792, RFC 4443). The packet
 * becomes its own answer and goes back where it came from. TCP gets no ICMP,
 * though that would do: where the client is near, the answer arrives while its
 * connect() still holds the socket, and the kernel then ignores ICMP. */
#pragma once
#include "nat.h"

enum {
	ICMP_LEN = 8,
	QUOTE4 = 20 + 8, /* what is quoted: network header and eight bytes */
	QUOTE6 = 40 + 8,
	ADJ_ROOM_MAC = 1,
};

struct icmp_quote4 {
	__u8 eth[ETH_LEN];
	struct iphdr ip;
	__u8 type, code;
	__u16 csum;
	__u32 unused;
	__u8 quote[QUOTE4];
} __attribute__((packed));

struct icmp_quote6 {
	__u8 eth[ETH_LEN];
	struct ip6hdr ip;
	__u8 type, code;
	__u16 csum;
	__u32 unused;
	__u8 quote[QUOTE6];
} __attribute__((packed));

static __always_inline __u16 fold(__s64 sum)
{
	__u32 s = sum;
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return ~s;
}

/* The checksum of an ICMPv6 message: over a pseudo-header too (RFC 8200 section
 * 8.1), of which addrs are the first 32 bytes. */
static __always_inline __u16 sum6(void *addrs, void *message, __u32 len)
{
	__be32 pseudo[2] = {bpf_htonl(len), bpf_htonl(PROTO_ICMP6)};
	__s64 sum = bpf_csum_diff(NULL, 0, addrs, 32, 0);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sum);
	return fold(bpf_csum_diff(NULL, 0, message, len, sum));
}

static __always_inline void swap_macs(__u8 *eth)
{
	__u8 mac[6];
	__builtin_memcpy(mac, eth, 6);
	__builtin_memcpy(eth, eth + 6, 6);
	__builtin_memcpy(eth + 6, mac, 6);
}

/* Makes the packet as long as the answer. */
static __always_inline int resize(struct __sk_buff *skb, __u32 quote, __u32 more)
{
	return bpf_skb_change_tail(skb, ETH_LEN + quote, 0) || bpf_skb_adjust_room(skb, more, ADJ_ROOM_MAC, 0);
}

__global int reject4(struct __sk_buff *skb, const struct pkt *p, __u32 how)
{
	struct icmp_quote4 a = {};
	if (!p)
		return TCX_DROP;
	if (bpf_skb_load_bytes(skb, 0, a.eth, ETH_LEN) || bpf_skb_load_bytes(skb, ETH_LEN, a.quote, QUOTE4))
		return TCX_DROP;
	swap_macs(a.eth);
	a.ip = (struct iphdr){.vihl = 0x45, .len = bpf_htons(20 + ICMP_LEN + QUOTE4), .frag = bpf_htons(0x4000), .ttl = 64, .proto = PROTO_ICMP,
			      .src = p->t.dst.w[3], .dst = p->t.src.w[3]};
	a.ip.csum = fold(bpf_csum_diff(NULL, 0, &a.ip, sizeof(a.ip), 0));
	a.type = 3;
	a.code = 3;
	a.csum = fold(bpf_csum_diff(NULL, 0, &a.type, ICMP_LEN + QUOTE4, 0));
	if (resize(skb, QUOTE4, 20 + ICMP_LEN) || bpf_skb_store_bytes(skb, 0, &a, sizeof(a), 0))
		return TCX_DROP;
	return bpf_redirect(skb->ifindex, how);
}

__global int reject6(struct __sk_buff *skb, const struct pkt *p, __u32 how)
{
	struct icmp_quote6 a = {};
	if (!p)
		return TCX_DROP;
	if (bpf_skb_load_bytes(skb, 0, a.eth, ETH_LEN) || bpf_skb_load_bytes(skb, ETH_LEN, a.quote, QUOTE6))
		return TCX_DROP;
	swap_macs(a.eth);
	a.ip = (struct ip6hdr){.flow = bpf_htonl(6 << 28), .len = bpf_htons(ICMP_LEN + QUOTE6), .next = PROTO_ICMP6, .hops = 64,
			       .src = p->t.dst, .dst = p->t.src};
	a.type = 1;
	a.code = 4;
	a.csum = sum6(&a.ip.src, &a.type, ICMP_LEN + QUOTE6);
	if (resize(skb, QUOTE6, 40 + ICMP_LEN) || bpf_skb_store_bytes(skb, 0, &a, sizeof(a), 0))
		return TCX_DROP;
	return bpf_redirect(skb->ifindex, how);
}

struct tcphdr {
	__be16 sport, dport;
	__be32 seq, ack;
	__u8 offset, flags;
	__be16 window;
	__u16 csum;
	__be16 urgent;
};
_Static_assert(sizeof(struct tcphdr) == 20, "ABI");

/* The part of TCP's checksum that is not of the segment, for one of len bytes. */
static __always_inline __s64 pseudo_sum(const struct pkt *p, __u32 len)
{
	__be32 rest[2] = {bpf_htonl(len), bpf_htonl(PROTO_TCP)};
	__s64 sum = bpf_csum_diff(NULL, 0, &p->t.src, 32, 0);
	return bpf_csum_diff(NULL, 0, rest, sizeof(rest), sum);
}

static __always_inline int set_ip_len(struct __sk_buff *skb, const struct pkt *p, __u32 end)
{
	__be16 from, to;
	if (p->v6) {
		to = bpf_htons(end - p->l3 - 40);
		return bpf_skb_store_bytes(skb, p->l3 + 4, &to, 2, 0);
	}
	from = bpf_htons(p->end - p->l3);
	to = bpf_htons(end - p->l3);
	return bpf_l3_csum_replace(skb, p->l3 + 10, from, to, 2) || bpf_skb_store_bytes(skb, p->l3 + 2, &to, 2, 0);
}

/* Turns a segment into the reset that answers it (RFC 9293 section 3.10.7.1). If
 * its checksum was left to a device, which shows in that it is the pseudo-header's
 * alone, so is that of the answer. */
__global int reset(struct __sk_buff *skb, struct pkt *p, __u32 how)
{
	struct tcphdr t, r = {.offset = 5 << 4, .flags = TCP_RST};
	__u8 eth[12];
	struct tuple back;
	if (!p || bpf_skb_load_bytes(skb, 0, eth, sizeof(eth)) || bpf_skb_load_bytes(skb, p->l4, &t, sizeof(t)))
		return TCX_DROP;
	__u32 len = p->end - p->l4, end = p->l4 + sizeof(r);
	__u16 to_come = ~fold(pseudo_sum(p, len));
	bool partial = t.csum == to_come;
	r.sport = t.dport;
	r.dport = t.sport;
	if (t.flags & TCP_ACK) {
		r.seq = t.ack;
	} else {
		r.flags |= TCP_ACK;
		r.ack = bpf_htonl(bpf_ntohl(t.seq) + len - (t.offset >> 4) * 4 + ((t.flags & TCP_SYN) != 0));
	}
	__s64 sum = pseudo_sum(p, sizeof(r));
	r.csum = partial ? ~fold(sum) : fold(bpf_csum_diff(NULL, 0, &r, sizeof(r), sum));
	reverse(&back, &p->t);
	swap_macs(eth);
	if (bpf_skb_change_tail(skb, end, 0) || set_ip_len(skb, p, end) || store_addrs(skb, p->l3, p->v6, &back) ||
	    bpf_skb_store_bytes(skb, p->l4, &r, sizeof(r), 0) || bpf_skb_store_bytes(skb, 0, eth, sizeof(eth), 0))
		return TCX_DROP;
	return bpf_redirect(skb->ifindex, how);
}

enum { REFUSALS_EACH = 1000000, REFUSALS_BURST = 200 }; /* one per ms and CPU, as many at once as a burst of clients may be */

/* Whether one more refusal may be sent: answers cost more than drops do, and may
 * go to somebody whose address was forged. The map holds the time at which
 * everything sent so far would have been due (the generic cell rate algorithm). */
static __always_inline bool may_answer(void)
{
	__u32 zero = 0;
	__u64 now = bpf_ktime_get_coarse_ns(), *due = bpf_map_lookup_elem(&refusals, &zero);
	if (!due)
		return false;
	__u64 from = *due > now ? *due : now;
	if (from - now > (__u64)REFUSALS_EACH * REFUSALS_BURST)
		return false;
	*due = from + REFUSALS_EACH;
	return true;
}

/* refuse drops a packet to a Service for reason and lets the client know, if
 * the reason is that nobody is there. The client is where the packet came from
 * (how: 0), or this node (BPF_F_INGRESS). */
static __always_inline int refuse(struct __sk_buff *skb, struct pkt *p, __u32 reason, __u32 how)
{
	int verdict = drop(reason);
	if (reason == DROP_NO_LOCAL_ENDPOINTS || p->kind != KIND_PLAIN || p->later_frag || p->tcp_flags & TCP_RST)
		return verdict;
	if (!may_answer())
		return verdict;
	if (p->t.proto == PROTO_TCP)
		return reset(skb, p, how);
	/* Only after a plain header: options are rare, and clients have timeouts. */
	if ((p->t.proto != PROTO_UDP && !p->opens) || p->l4 != ETH_LEN + (p->v6 ? 40 : 20))
		return verdict;
	return p->v6 ? reject6(skb, p, how) : reject4(skb, p, how);
}

/* Sends a packet back to where it came from: the pod (how: 0), or this node (BPF_F_INGRESS). */
static __always_inline int bounce(struct __sk_buff *skb, __u32 how)
{
	__u8 eth[12];
	if (bpf_skb_load_bytes(skb, 0, eth, sizeof(eth)))
		return drop(DROP_REWRITE);
	swap_macs(eth);
	if (bpf_skb_store_bytes(skb, 0, eth, sizeof(eth), 0))
		return drop(DROP_REWRITE);
	return bpf_redirect(skb->ifindex, how);
}
