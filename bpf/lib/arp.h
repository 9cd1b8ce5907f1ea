/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* ARP for the LoadBalancer addresses that this node announces (RFC 826). It is
 * answered here so that the address stays reachable while the agent is away. */
#pragma once
#include "addr.h"
#include "maps.h"

struct arp_frame {
	__u8 eth_dst[6], eth_src[6];
	__be16 eth_type;
	__be16 hw, proto;
	__u8 hw_len, proto_len;
	__be16 op;
	__u8 sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
};
_Static_assert(sizeof(struct arp_frame) == 42, "ABI");

__global int answer_arp(struct __sk_buff *skb)
{
	struct arp_frame f;
	__be32 ip;
	if (bpf_skb_load_bytes(skb, 0, &f, sizeof(f)))
		return TCX_PASS;
	if (f.op != bpf_htons(1) || f.proto != bpf_htons(0x0800) || f.hw_len != 6 || f.proto_len != 4)
		return TCX_PASS;
	__builtin_memcpy(&ip, f.target_ip, 4);
	struct prefix_key k = {.prefixlen = 128, .addr = addr4(ip)};
	struct vip *v = bpf_map_lookup_elem(&vips, &k);
	if (!v)
		return TCX_PASS;
	__builtin_memcpy(f.eth_dst, f.eth_src, 6);
	__builtin_memcpy(f.eth_src, v->mac, 6);
	f.op = bpf_htons(2);
	__builtin_memcpy(f.target_mac, f.sender_mac, 6);
	__builtin_memcpy(f.target_ip, f.sender_ip, 4);
	__builtin_memcpy(f.sender_mac, v->mac, 6);
	__builtin_memcpy(f.sender_ip, &ip, 4);
	if (bpf_skb_store_bytes(skb, 0, &f, sizeof(f), 0))
		return drop(DROP_REWRITE);
	return bpf_redirect(skb->ifindex, 0);
}
