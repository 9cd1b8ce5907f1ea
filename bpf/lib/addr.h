/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Addresses and tuples. */
#pragma once
#include "types.h"

#define V4_MAPPED bpf_htonl(0xffff)

static __always_inline struct addr addr4(__be32 a)
{
	return (struct addr){{0, 0, V4_MAPPED, a}};
}

static __always_inline bool is4(const struct addr *a)
{
	return !(a->w[0] | a->w[1] | (a->w[2] ^ V4_MAPPED));
}

static __always_inline bool is_zero(const struct addr *a)
{
	return !(a->w[0] | a->w[1] | a->w[2] | a->w[3]);
}

/* Comparisons are written without branches: the verifier follows each one. */
static __always_inline __u32 differ(const struct addr *a, const struct addr *b)
{
	return (a->w[0] ^ b->w[0]) | (a->w[1] ^ b->w[1]) | (a->w[2] ^ b->w[2]) | (a->w[3] ^ b->w[3]);
}

static __always_inline bool same(const struct addr *a, const struct addr *b)
{
	return !differ(a, b);
}

/* Whether an address means the namespace itself: loopback, and what connect()
 * takes for it, the unspecified address. */
static __always_inline bool is_local(const struct addr *a)
{
	__be32 first = a->w[3] & bpf_htonl(0xff000000);
	if (is4(a))
		return first == bpf_htonl(0x7f000000) || !a->w[3];
	return !(a->w[0] | a->w[1] | a->w[2] | (a->w[3] & ~bpf_htonl(1)));
}

/* The address that means "the node's own", in a's family. */
static __always_inline struct addr unspecified(const struct addr *a)
{
	return is4(a) ? addr4(0) : (struct addr){};
}

static __always_inline void reverse(struct tuple *to, const struct tuple *t)
{
	to->src = t->dst;
	to->dst = t->src;
	to->sport = t->dport;
	to->dport = t->sport;
	to->proto = t->proto;
	to->scope = t->scope;
	to->zero = 0;
}

static __always_inline bool same_flow(const struct tuple *a, const struct tuple *b)
{
	return !(differ(&a->src, &b->src) | differ(&a->dst, &b->dst) | (a->sport ^ b->sport) | (a->dport ^ b->dport));
}
