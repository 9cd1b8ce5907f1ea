/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Values shared with Go (internal/apply/bpf); bpf2go generates the Go side. */
#pragma once
#include "../include/kernel.h"

enum {
	PROTO_ICMP = 1,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_ICMP6 = 58,
	PROTO_SCTP = 132,
};

/* Why a packet was dropped: drop.go holds the names, in this order. */
enum drop {
	DROP_NONE,
	DROP_MALFORMED,
	DROP_SPOOFED,
	DROP_POD_UNKNOWN,
	DROP_POLICY_INGRESS,
	DROP_POLICY_EGRESS,
	DROP_NO_ENDPOINTS,
	DROP_NO_LOCAL_ENDPOINTS,
	DROP_UNKNOWN_PORT,
	DROP_SOURCE_RANGE,
	DROP_NO_NAT_PORT,
	DROP_TABLE_FULL,
	DROP_REWRITE,
	DROP_NO_ROUTE,
	DROP_TTL,
	DROP_FRAGMENT,
	DROP_UNALLOCATED,
	DROP_BACKEND_GONE,
	DROP_NO_FLOW,
	DROP_HANDOVER,
	NUM_DROPS,
};

/* An IPv6 address, or an IPv4 address as ::ffff:a.b.c.d: one width for both
 * families. Network order. */
struct addr {
	__u32 w[4];
};

/* A flow as one packet shows it. Echo requests have their id as sport,
 * replies as dport, so that reversing works for them as well. */
struct tuple {
	struct addr src, dst;
	__be16 sport, dport;
	__u8 proto;
	__u8 scope; /* enum scope */
	__u16 zero;
};
_Static_assert(sizeof(struct tuple) == 40, "no padding in keys");

/* Which hook's flow: the same five values may mean different things to the
 * uplink and to the pods at both ends. */
enum scope {
	SCOPE_NODE = 1, /* the uplink: each direction of a rewritten flow has its own entry */
	SCOPE_POD_OUT,  /* opened by a pod; the entry's key is the opener's packet, for both directions */
	SCOPE_POD_IN,   /* opened towards a pod, likewise */
};

enum {
	CONN_NAT = 1 << 0,      /* to is valid: rewrite the packet */
	CONN_REDIRECT = 1 << 1, /* it leaves the node again: go past the host's stack, which would see a martian */
	CONN_REPLIED = 1 << 2,  /* there was a packet in the other direction; on the uplink: another in this one */
	CONN_FIN = 1 << 3,      /* FIN seen in the key's direction */
	CONN_FIN_REV = 1 << 4,  /* FIN seen in the other */
	CONN_RST = 1 << 5,
	CONN_SELF = 1 << 7,     /* from this node to itself: it goes back into the stack */
	CONN_ORIGIN = 1 << 6,   /* to is what the opener sent: replies are to look as if they came from there */
};

struct conn {
	struct tuple to; /* with CONN_NAT or CONN_ORIGIN, see there */
	__u64 seen;      /* CLOCK_MONOTONIC, ns, of the last packet, exact to a second */
	__u32 service;   /* whose backend was chosen; 0: none */
	__u32 flags;
};

struct frontend_key {
	struct addr addr; /* unspecified: the node's own addresses */
	__be16 port;      /* with proto 0: any port of a Service's address that no frontend has */
	__u8 proto;
	__u8 zero;
};

enum {
	FE_INTERNAL_DROP = 1 << 0, /* an empty set drops instead of refusing */
	FE_EXTERNAL_DROP = 1 << 1,
	FE_RESTRICTED = 1 << 2,    /* only sources in ranges are admitted */
	FE_ADDRESS = 1 << 3,       /* wildcard entry: the port is unknown */
	FE_INTERNAL_BIT = 8,       /* 4 bits each: the set's bit in struct member */
	FE_EXTERNAL_BIT = 12,
};

struct frontend {
	__u32 service;
	__u32 internal, external;     /* set ids: clients on this node, all others */
	__u32 n_internal, n_external; /* sizes of the sets */
	__u32 affinity;               /* seconds */
	__u32 flags;
};

/* Sets are immutable: a new list of backends is a new set. */
struct slot_key {
	__u32 set;
	__u32 index;
};

struct backend {
	struct addr addr;
	__be16 port;
	__u8 local; /* on this node: keep the client's address */
	__u8 zero;
};

/* All endpoints of a service port that may keep what flows they have. */
struct member_key {
	__u32 service;
	struct addr addr;
	__be16 port;
	__u16 zero;
};

struct member {
	__u32 sets; /* bit i: in the i-th set, so eligible for new flows there */
};

/* Which network namespaces have had connected UDP sockets to a backend. */
struct talker_key {
	__u64 netns; /* cookie */
	struct addr backend;
};

struct affinity_key {
	__u32 service;
	struct addr client; /* an address, or the network namespace of a socket: see client_of */
};

struct affinity {
	struct addr addr;
	__be16 port;
	__u16 zero;
	__u32 zero2;
	__u64 seen;
};

struct range_key {
	__u32 prefixlen;
	__u32 service;
	struct addr addr;
};

struct prefix_key {
	__u32 prefixlen;
	struct addr addr;
};

enum {
	NET_CLUSTER = 1 << 0, /* a pod or a node: never masqueraded towards it */
	NET_LOCAL_POD = 1 << 1, /* a pod of this node: masqueraded on the way out */
	NET_SERVICE = 1 << 2,   /* addresses for Services: one that no Service has leads nowhere */
};

enum { POLICY_NONE = 0, POLICY_CLOSED = 0xffffffff }; /* set ids with a meaning */
enum { CLASS_ANY = 0xffffffff };

/* A pod of this node, by the ifindex of its link. */
struct endpoint {
	struct addr ip4, ip6; /* zero: none */
	__u32 ingress, egress; /* policy set, or one of POLICY_ */
};

/* Longest prefix match: everything up to class must match, then protocol and
 * port as far as the rule names them. */
struct verdict_key {
	__u32 prefixlen;
	__u32 set;
	__u32 class;
	__u8 proto;
	__u8 zero;
	__be16 port;
};

struct frag_key {
	struct addr src, dst;
	__u32 id;
	__u32 proto;
};

struct frag {
	__u64 seen;
	__be16 sport, dport;
	__u8 known;     /* the first fragment was here: the ports are set */
	__u8 overtaken; /* by another one, which nobody could name */
	__u16 zero;
	__u32 zero2;
};

/* What the node is called; index 0 of the map node. */
struct node {
	struct addr ip4, ip6; /* what masqueraded packets come from; zero: family not there */
};

struct vip {
	__u8 mac[6];
	__u16 zero;
};

/* What a socket believes to talk to, and does. */
struct peer {
	struct addr vip, backend;
	__be16 vport, bport;
	__u32 service;
};

/* A TCP socket's, by the socket's cookie. */
struct tcp_peer {
	struct peer peer;
	__u64 netns; /* cookie: where the agent has to look for the socket */
};

/* A socket that has chosen its port itself, and what has it: to the Service that
 * another one of the same port talks to by the same backend, there is no way. */
struct bound_key {
	__u64 netns; /* cookie */
	struct addr backend;
	__be16 bport;
	__u16 lport;
	__u32 proto;
};

struct bound {
	struct addr vip;
	__be16 vport;
	__u16 zero;
};

/* An unconnected UDP socket may talk to several Services in turn, as resolvers
 * with several servers do. */
enum { NUM_PEERS = 4 };

struct peers {
	struct peer p[NUM_PEERS];
	__u16 next; /* to be replaced */
	__u16 last; /* used: where two have the same backend, it is this one's answer */
};

/* Names of numbers, for the applier alone: it restores its allocation from here. */
struct name_key {
	__u32 kind;
	__u32 id;
};

struct name {
	__u8 digest[16];
};
