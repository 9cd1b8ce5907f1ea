/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* NetworkPolicy: an address has a class, and a set of rules allows classes. */
#pragma once
#include "addr.h"
#include "maps.h"

static __always_inline bool verdict(__u32 set, __u32 class, __u8 proto, __be16 port)
{
	struct verdict_key k = {.prefixlen = 96, .set = set, .class = class, .proto = proto, .port = port};
	return bpf_map_lookup_elem(&verdicts, &k) != NULL;
}

/* Whether set allows peer: rules are only ever allowing, so the two that can
 * match, one for the peer's class and one for any, need no order. */
__global bool allowed(__u32 set, const struct addr *peer, __u8 proto, __be16 port)
{
	if (!peer || set == POLICY_CLOSED)
		return false;
	if (set == POLICY_NONE)
		return true;
	struct prefix_key k = {.prefixlen = 128, .addr = *peer};
	__u32 *class = bpf_map_lookup_elem(&classes, &k);
	return verdict(set, class ? *class : 0, proto, port) || verdict(set, CLASS_ANY, proto, port);
}
