/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* All maps, pinned by name below the layout version. Nothing is preallocated but
 * LRU: memory follows what is in a map. A trie needs nothing else, so its
 * max_entries is only a fence; a hash has 16 bytes for each entry that there may
 * be, so those that large clusters fill begin small and grow (table.go). */
#pragma once
#include "types.h"

#define MAP(name, kind, k, v, n, f)                 \
	struct {                                    \
		__uint(type, kind);                 \
		__type(key, k);                     \
		__type(value, v);                   \
		__uint(max_entries, n);             \
		__uint(map_flags, f);               \
		__uint(pinning, LIBBPF_PIN_BY_NAME); \
	} name SEC(".maps")

#define HASH(name, k, v, n) MAP(name, BPF_MAP_TYPE_HASH, k, v, n, BPF_F_NO_PREALLOC)
#define MANY (1 << 24)

/* A hash that only user space writes, and replaces by a larger one when it is
 * full: programs find it by way of an array, which costs them two loads. */
#define GROWS(name, k, v, n)                            \
	struct {                                        \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); \
		__type(key, __u32);                     \
		__uint(max_entries, 1);                 \
		__uint(pinning, LIBBPF_PIN_BY_NAME);     \
		__array(values, struct {                \
			__uint(type, BPF_MAP_TYPE_HASH); \
			__type(key, k);                 \
			__type(value, v);               \
			__uint(max_entries, n);         \
			__uint(map_flags, BPF_F_NO_PREALLOC); \
		});                                     \
	} name SEC(".maps")

#define LPM(name, k, v, n) MAP(name, BPF_MAP_TYPE_LPM_TRIE, k, v, n, BPF_F_NO_PREALLOC)
#define LRU(name, k, v, n) MAP(name, BPF_MAP_TYPE_LRU_HASH, k, v, n, 0)
#define SOCK(name, v) MAP(name, BPF_MAP_TYPE_SK_STORAGE, int, v, 0, BPF_F_NO_PREALLOC)

/* Services */
GROWS(frontends, struct frontend_key, struct frontend, 16384);
GROWS(slots, struct slot_key, struct backend, 65536);
GROWS(members, struct member_key, struct member, 65536);
LPM(ranges, struct range_key, __u32, MANY);
LRU(affinities, struct affinity_key, struct affinity, 65536);
HASH(talkers, struct talker_key, __u32, 262144);
HASH(gone, struct addr, __u32, 65536); /* pods that are no more, until their address is given again */
LRU(bound, struct bound_key, struct bound, 4096);
HASH(tcp_peers, __u64, struct tcp_peer, 131072); /* connected TCP sockets, by cookie, until they are closed */
SOCK(sock_peer, struct peer);                    /* connected UDP sockets */
SOCK(sock_peers, struct peers);                  /* those that send to several */

/* Flows */
HASH(conns, struct tuple, struct conn, 1048576);
LRU(frags, struct frag_key, struct frag, 4096);

/* The node */
HASH(self, struct addr, __u32, 256); /* own addresses */
LPM(nets, struct prefix_key, __u32, MANY);
LPM(vips, struct prefix_key, struct vip, MANY); /* whole addresses; few ask, and a trie that is empty costs nothing */
MAP(node, BPF_MAP_TYPE_ARRAY, __u32, struct node, 1, 0);
MAP(drops, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, NUM_DROPS, 0);
MAP(refusals, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, 1, 0); /* see may_answer */

/* Pods and policy */
HASH(endpoints, __u32, struct endpoint, 4096);
LPM(classes, struct prefix_key, __u32, MANY);
LPM(verdicts, struct verdict_key, __u32, MANY);

/* Only the applier uses this one, and makes it larger when it must. */
HASH(names, struct name_key, struct name, 65536);

/* Set by the loader. */
const volatile __u64 host_netns = 0;   /* cookie of the node's network namespace */
const volatile __u16 nat_port_lo = 1024; /* ports for rewritten sources: below the range of ephemeral ports and of NodePorts */
const volatile __u16 nat_port_hi = 29999;

/* Set by the loader while flows of another layout are being copied into this one. */
volatile __u32 handover = 0;

/* Never called: clang describes the types of maps within maps only if something
 * else has them, too. */
__global int types_of_inner_maps(struct frontend_key *f, struct slot_key *s, struct member_key *k, struct member *m)
{
	return f && s && k && m;
}

/* Looks key up in a map that grows. */
static __always_inline void *lookup(void *grows, const void *key)
{
	__u32 zero = 0;
	void *m = bpf_map_lookup_elem(grows, &zero);
	return m ? bpf_map_lookup_elem(m, key) : NULL;
}

/* A reason to drop becomes the verdict of a packet hook here, and only here. */
static __always_inline int drop(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&drops, &reason);
	if (n)
		(*n)++;
	return TCX_DROP;
}
