/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What arp.h is for IPv4: neighbour solicitations for the announced addresses
 * become the advertisements that answer them (RFC 4861 section 7.2). */
#pragma once
#include "reject.h"

struct advertisement {
	__u8 eth[ETH_LEN];
	struct ip6hdr ip;
	__u8 type, code;
	__u16 csum;
	__be32 flags;
	struct addr target;
	__u8 option, option_len, mac[6]; /* the target's link-layer address; a solicitation has its sender's here, or nothing */
} __attribute__((packed));
_Static_assert(sizeof(struct advertisement) == 86, "ABI");

enum {
	NDP_SOLICITATION = 135,
	NDP_ADVERTISEMENT = 136,
	NDP_LEN = 32, /* with the option */
	NDP_SOLICITED = 1 << 30,
	NDP_OVERRIDE = 1 << 29,
};

__global int answer_ndp(struct __sk_buff *skb, const struct pkt *p)
{
	struct advertisement a = {};
	if (!p || !p->v6 || p->l4 != ETH_LEN + 40 || p->ttl != 255) /* 255: nobody has forwarded it */
		return TCX_PASS;
	if (bpf_skb_load_bytes(skb, 0, &a, ETH_LEN + 40 + NDP_LEN - 8) || a.type != NDP_SOLICITATION || a.code)
		return TCX_PASS;
	struct addr target = a.target;
	struct prefix_key k = {.prefixlen = 128, .addr = target};
	struct vip *v = bpf_map_lookup_elem(&vips, &k);
	if (!v)
		return TCX_PASS;
	__builtin_memcpy(a.eth, a.eth + 6, 6);
	__builtin_memcpy(a.eth + 6, v->mac, 6);
	struct addr to = p->t.src;
	__u32 flags = NDP_OVERRIDE | NDP_SOLICITED;
	if (is_zero(&to)) { /* somebody means to take the address: all are told whose it is */
		static const __u8 all_nodes[6] = {0x33, 0x33, 0, 0, 0, 1};
		to = (struct addr){{bpf_htonl(0xff020000), 0, 0, bpf_htonl(1)}};
		flags = NDP_OVERRIDE;
		__builtin_memcpy(a.eth, all_nodes, 6);
	}
	a.ip = (struct ip6hdr){.flow = bpf_htonl(6 << 28), .len = bpf_htons(NDP_LEN), .next = PROTO_ICMP6, .hops = 255, .src = target, .dst = to};
	a.type = NDP_ADVERTISEMENT;
	a.csum = 0;
	a.flags = bpf_htonl(flags);
	a.option = 2;
	a.option_len = 1;
	__builtin_memcpy(a.mac, v->mac, 6);
	a.csum = sum6(&a.ip.src, &a.type, NDP_LEN);
	if (bpf_skb_change_tail(skb, sizeof(a), 0) || bpf_skb_store_bytes(skb, 0, &a, sizeof(a), 0))
		return drop(DROP_REWRITE);
	return bpf_redirect(skb->ifindex, 0);
}
