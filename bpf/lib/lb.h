/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Services: which frontend an address is, and which backend a new flow gets. */
#pragma once
#include "addr.h"
#include "maps.h"

/* The frontend at an address, which may be one of the node's own, or the
 * wildcard of a Service's address; NULL: not a Service. */
static __always_inline struct frontend *frontend_of(const struct addr *dst, __be16 port, __u8 proto)
{
	struct frontend_key k = {.addr = *dst, .port = port, .proto = proto};
	struct frontend *fe = lookup(&frontends, &k);
	if (fe)
		return fe;
	if (bpf_map_lookup_elem(&self, dst)) {
		k.addr = unspecified(dst);
		return lookup(&frontends, &k);
	}
	k.port = 0;
	k.proto = 0;
	return lookup(&frontends, &k);
}

/* Whether an address is a Service's, whatever the port. */
__global bool is_service(const struct addr *dst)
{
	if (!dst)
		return false;
	struct frontend_key k = {.addr = *dst};
	return lookup(&frontends, &k) != NULL;
}

/* Whether an endpoint may keep the flows it has. */
static __always_inline bool serves(__u32 service, const struct addr *a, __be16 port)
{
	struct member_key k = {.service = service, .addr = *a, .port = port};
	return lookup(&members, &k) != NULL;
}

/* Whether the pod that had an address is no more: what is sent there is lost,
 * and nobody will say so. */
static __always_inline bool pod_gone(const struct addr *a)
{
	return bpf_map_lookup_elem(&gone, a) != NULL;
}

/* What kind of net an address is in: NET_ flags. */
__global __u32 net_of(const struct addr *a)
{
	if (!a)
		return 0;
	struct prefix_key k = {.prefixlen = 128, .addr = *a};
	__u32 *flags = bpf_map_lookup_elem(&nets, &k);
	return flags ? *flags : 0;
}

/* The node's own address for packets that it sends; NULL: it has none of the family. */
static __always_inline struct addr *node_addr(bool v6)
{
	__u32 zero = 0;
	struct node *n = bpf_map_lookup_elem(&node, &zero);
	if (!n)
		return NULL;
	struct addr *a = v6 ? &n->ip6 : &n->ip4;
	return is_zero(a) ? NULL : a;
}

static __always_inline bool is_node(const struct addr *a)
{
	struct addr *own = node_addr(!is4(a));
	return own && same(own, a);
}

/* Whether the Service admits a source (loadBalancerSourceRanges). */
__global bool admitted(const struct frontend *fe, const struct addr *src)
{
	if (!fe || !src)
		return false;
	struct range_key k = {.prefixlen = 32 + 128, .service = fe->service, .addr = *src};
	return !(fe->flags & FE_RESTRICTED) || bpf_map_lookup_elem(&ranges, &k);
}

/* The backend that client had before, if it may get new flows still. */
static __always_inline bool recall(const struct affinity_key *k, __u32 seconds, __u32 set_bit, struct backend *b)
{
	struct affinity *a = bpf_map_lookup_elem(&affinities, k);
	if (!a || bpf_ktime_get_coarse_ns() - a->seen > (__u64)seconds * 1000000000)
		return false;
	struct member_key mk = {.service = k->service, .addr = a->addr, .port = a->port};
	struct member *m = lookup(&members, &mk);
	if (!m || !(m->sets & 1 << set_bit))
		return false;
	b->addr = a->addr;
	b->port = a->port;
	b->local = m->sets >> 31;
	return true;
}

/* choose picks a backend for a new flow of client. internal: the client is on
 * this node. Returns a drop reason. */
__global int choose(const struct frontend *fe, bool internal, const struct addr *client, struct backend *b)
{
	if (!fe || !client || !b)
		return DROP_NO_ENDPOINTS;
	__u32 flags = fe->flags, n = internal ? fe->n_internal : fe->n_external;
	if (flags & FE_ADDRESS)
		return DROP_UNKNOWN_PORT;
	if (!n)
		return flags & (internal ? FE_INTERNAL_DROP : FE_EXTERNAL_DROP) ? DROP_NO_LOCAL_ENDPOINTS : DROP_NO_ENDPOINTS;

	struct affinity_key k = {.service = fe->service, .client = *client};
	__u32 seconds = fe->affinity, bit = flags >> (internal ? FE_INTERNAL_BIT : FE_EXTERNAL_BIT) & 15;
	if (!seconds || !recall(&k, seconds, bit, b)) {
		struct slot_key sk = {.set = internal ? fe->internal : fe->external, .index = bpf_get_prandom_u32() % n};
		struct backend *slot = lookup(&slots, &sk);
		if (!slot)
			return DROP_NO_ENDPOINTS;
		*b = *slot;
	}
	if (seconds) {
		struct affinity a = {.addr = b->addr, .port = b->port, .seen = bpf_ktime_get_coarse_ns()};
		bpf_map_update_elem(&affinities, &k, &a, BPF_ANY);
	}
	return DROP_NONE;
}
