/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The checksum of SCTP (RFC 9260 section 6.8 and appendix A). It covers the ports
 * and everything behind them, but a CRC is linear: what changes is the product
 * of the difference and x to the power of the bits from there to the end,
 * modulo the polynomial. Polynomials have their lowest power in the highest bit. */
#pragma once
#include "parse.h"

/* x^8, x^16, x^32 … x^(8*2^15); TestCRC calculates them. */
static const __u32 crc_powers[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

static __always_inline __u32 crc_product(__u32 a, __u32 b)
{
	__u32 r = 0;
	for (int i = 0; i < 32; i++) {
		r ^= b & -(a >> 31);
		a <<= 1;
		b = b >> 1 ^ (0x82f63b78 & -(b & 1));
	}
	return r;
}

/* Mends the checksum for a change of the ports by diff. */
static __always_inline int mend_crc(struct __sk_buff *skb, const struct pkt *p, __u32 diff)
{
	__u32 crc, len = p->end - p->l4;
	if (p->frag) /* the others are not here to tell how long the packet is */
		return -1;
	if (bpf_skb_load_bytes(skb, p->l4 + 8, &crc, 4))
		return -1;
	if (!crc) /* not yet: the device makes it */
		return 0;
	for (int i = 0; i < 16; i++)
		if (len >> i & 1)
			diff = crc_product(crc_powers[i], diff);
	crc ^= diff;
	return bpf_skb_store_bytes(skb, p->l4 + 8, &crc, 4, 0);
}
