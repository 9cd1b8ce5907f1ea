/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Telling a client that nobody is there: a reset for TCP (RFC 9293 section
 * 3.10.7.1), ICMP port unreachable for UDP (RFC 792, RFC 4443). The packet
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

__global int reject4(struct __sk_buff *skb, const struct pkt *p)
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
	return bpf_redirect(skb->ifindex, 0);
}

__global int reject6(struct __sk_buff *skb, const struct pkt *p)
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
	return bpf_redirect(skb->ifindex, 0);
}

/* Turns a SYN into the reset that answers it. Everything is changed by
 * differences, so that a checksum that a device has yet to finish stays right;
 * that is also why the options stay, which mean nothing in a reset. */
__global int reset(struct __sk_buff *skb, struct pkt *p)
{
	__u8 eth[12];
	__be32 from[2], to[2];
	__be16 bits, answer;
	struct tuple back;
	if (!p || bpf_skb_load_bytes(skb, 0, eth, sizeof(eth)) || bpf_skb_load_bytes(skb, p->l4 + 4, from, sizeof(from)) ||
	    bpf_skb_load_bytes(skb, p->l4 + 12, &bits, 2))
		return TCX_DROP;
	to[0] = 0;
	to[1] = bpf_htonl(bpf_ntohl(from[0]) + 1);
	answer = bpf_htons((bpf_ntohs(bits) & 0xf000) | TCP_RST | TCP_ACK);
	reverse(&back, &p->t);
	swap_macs(eth);
	if (rewrite(skb, p, &back) || bpf_l4_csum_replace(skb, p->l4 + 16, 0, bpf_csum_diff(from, 8, to, 8, 0), 0) ||
	    bpf_l4_csum_replace(skb, p->l4 + 16, bits, answer, 2) || bpf_skb_store_bytes(skb, p->l4 + 4, to, 8, 0) ||
	    bpf_skb_store_bytes(skb, p->l4 + 12, &answer, 2, 0) || bpf_skb_store_bytes(skb, 0, eth, sizeof(eth), 0))
		return TCX_DROP;
	return bpf_redirect(skb->ifindex, 0);
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
 * the reason is that nobody is there. */
static __always_inline int refuse(struct __sk_buff *skb, struct pkt *p, __u32 reason)
{
	int verdict = drop(reason);
	if ((reason != DROP_NO_ENDPOINTS && reason != DROP_UNKNOWN_PORT) || p->kind != KIND_PLAIN || p->later_frag)
		return verdict;
	if (!may_answer())
		return verdict;
	if (opens(p))
		return reset(skb, p);
	/* Only after a plain header: options are rare, and clients have timeouts. */
	if (p->t.proto != PROTO_UDP || p->l4 != ETH_LEN + (p->v6 ? 40 : 20))
		return verdict;
	return p->v6 ? reject6(skb, p) : reject4(skb, p);
}
