/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* From bytes to tuples. Headers are copied out with bpf_skb_load_bytes, which
 * works on packets of any shape. */
#pragma once
#include "addr.h"
#include "maps.h"

enum {
	ETH_LEN = 14,
	ETH_P_IP = 0x0800,
	ETH_P_ARP = 0x0806,
	ETH_P_IPV6 = 0x86dd,

	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_ACK = 16,
};

enum kind {
	KIND_PLAIN,
	KIND_ICMP_ERROR, /* inner holds the packet that caused it */
	KIND_NEIGHBOUR,  /* NDP and MLD: link-local housekeeping */
};

struct pkt {
	struct tuple t;
	__u16 l3, l4;     /* offsets */
	__u8 v6;
	__u8 kind;        /* enum kind */
	__u8 tcp_flags;
	__u8 ttl;
	__u8 frag;        /* is a fragment */
	__u8 later_frag;  /* has no transport header of its own */
	__u8 udp_no_csum; /* IPv4 UDP without checksum */
	__u8 opens;       /* the first packet of a connection: SYN or INIT */
	__u8 overtaken;   /* of a datagram with a fragment that had come too early, see passed_early */
	__u16 end;        /* offset behind the packet; a frame may be longer */
};

struct iphdr {
	__u8 vihl, tos;
	__be16 len, id, frag;
	__u8 ttl, proto;
	__u16 csum;
	__be32 src, dst;
};

struct ip6hdr {
	__be32 flow;
	__be16 len;
	__u8 next, hops;
	struct addr src, dst;
};

/* The network header at off: fills addresses, protocol and the offset of what
 * follows. Returns a drop reason. first and later say what fragment it is. */
struct frame {
	__u16 l4, end;
	__u8 proto, ttl, first, later;
	__u32 id;
};

static __always_inline int parse_ip4(struct __sk_buff *skb, __u32 off, struct tuple *t, struct frame *f)
{
	struct iphdr ip;
	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return DROP_MALFORMED;
	if ((ip.vihl >> 4) != 4 || (ip.vihl & 15) < 5)
		return DROP_MALFORMED;
	t->src = addr4(ip.src);
	t->dst = addr4(ip.dst);
	f->l4 = off + (ip.vihl & 15) * 4;
	f->end = off + bpf_ntohs(ip.len);
	f->proto = ip.proto;
	f->ttl = ip.ttl;
	f->id = ip.id;
	f->later = (ip.frag & bpf_htons(0x1fff)) != 0;
	f->first = !f->later && (ip.frag & bpf_htons(0x2000)) != 0;
	return DROP_NONE;
}

static __always_inline int parse_ip6(struct __sk_buff *skb, __u32 off, struct tuple *t, struct frame *f)
{
	struct ip6hdr ip;
	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return DROP_MALFORMED;
	t->src = ip.src;
	t->dst = ip.dst;
	f->ttl = ip.hops;
	f->proto = ip.next;
	f->first = f->later = 0;
	off += sizeof(ip);
	f->end = off + bpf_ntohs(ip.len);
	for (int i = 0; i < 6; i++) { /* extension headers, RFC 8200 section 4 */
		__u8 h[8];
		if (f->proto != 0 && f->proto != 43 && f->proto != 44 && f->proto != 60)
			break;
		if (bpf_skb_load_bytes(skb, off, h, sizeof(h)))
			return DROP_MALFORMED;
		if (f->proto == 44) {
			__u16 frag = (h[2] << 8) | h[3];
			f->later = (frag & 0xfff8) != 0;
			f->first = !f->later && (frag & 1);
			f->id = h[4] << 24 | h[5] << 16 | h[6] << 8 | h[7];
			f->proto = h[0];
			off += 8;
			if (f->later)
				break;
		} else {
			f->proto = h[0];
			off += 8 + h[1] * 8;
		}
	}
	f->l4 = off;
	return DROP_NONE;
}

/* The transport header: ports, or what stands for them. Needs the first eight
 * bytes only, which is all that an ICMP error must quote. */
static __always_inline int parse_l4(struct __sk_buff *skb, struct tuple *t, const struct frame *f, __u8 *kind)
{
	__u8 h[8];
	*kind = KIND_PLAIN;
	t->sport = t->dport = 0;
	t->proto = f->proto;
	switch (f->proto) {
	case PROTO_TCP:
	case PROTO_UDP:
	case PROTO_SCTP:
	case PROTO_ICMP:
	case PROTO_ICMP6:
		break;
	default:
		return DROP_NONE;
	}
	if (bpf_skb_load_bytes(skb, f->l4, h, sizeof(h)))
		return DROP_MALFORMED;
	__be16 first, second, echo;
	__builtin_memcpy(&first, h, 2);
	__builtin_memcpy(&second, h + 2, 2);
	__builtin_memcpy(&echo, h + 4, 2);
	if (f->proto == PROTO_ICMP) {
		if (h[0] == 8)
			t->sport = echo;
		else if (h[0] == 0)
			t->dport = echo;
		else if (h[0] == 3 || h[0] == 11 || h[0] == 12)
			*kind = KIND_ICMP_ERROR;
	} else if (f->proto == PROTO_ICMP6) {
		if (h[0] == 128)
			t->sport = echo;
		else if (h[0] == 129)
			t->dport = echo;
		else if (h[0] >= 1 && h[0] <= 4)
			*kind = KIND_ICMP_ERROR;
		else if ((h[0] >= 130 && h[0] <= 137) || h[0] == 143)
			*kind = KIND_NEIGHBOUR;
	} else {
		t->sport = first;
		t->dport = second;
	}
	return DROP_NONE;
}

enum { REASSEMBLY = 30 }; /* seconds that receivers wait for all fragments (ipfrag_time of Linux) */

/* Fragments after the first take their ports from it (RFC 6146 section 3.4
 * has the same rule for in-order fragments). */
static __always_inline int parse_frag(struct pkt *p, const struct frame *f)
{
	struct tuple *t = &p->t;
	struct frag_key k = {.src = t->src, .dst = t->dst, .id = f->id, .proto = f->proto};
	__u64 now = bpf_ktime_get_coarse_ns();
	struct frag *seen = bpf_map_lookup_elem(&frags, &k);
	if (seen && now - seen->seen > REASSEMBLY * 1000000000ull)
		seen = NULL; /* a datagram long ago had this number */
	if (f->first) {
		struct frag here = {.seen = now, .sport = t->sport, .dport = t->dport, .known = 1, .overtaken = seen && !seen->known};
		bpf_map_update_elem(&frags, &k, &here, BPF_ANY);
		p->overtaken = here.overtaken;
		return DROP_NONE;
	}
	t->proto = f->proto;
	if (!seen || !seen->known) {
		t->sport = f->id; /* for passed_early */
		t->dport = f->id >> 16;
		return DROP_FRAGMENT;
	}
	t->sport = seen->sport;
	t->dport = seen->dport;
	p->overtaken = seen->overtaken;
	return DROP_NONE;
}

/* Notes a fragment without ports that has passed. Should its datagram turn out to
 * be a Service's, it is lost: the rest is dropped then, under the reason that this
 * one could not be dropped for. */
static __always_inline void passed_early(const struct pkt *p)
{
	struct frag_key k = {.src = p->t.src, .dst = p->t.dst, .id = p->t.sport | (__u32)p->t.dport << 16, .proto = p->t.proto};
	struct frag early = {.seen = bpf_ktime_get_coarse_ns()};
	bpf_map_update_elem(&frags, &k, &early, BPF_ANY);
}

/* parse fills p from an IP packet whose network header is at off. */
static __always_inline int parse_at(struct __sk_buff *skb, __u32 off, bool v6, struct pkt *p)
{
	struct frame f = {};
	int err = v6 ? parse_ip6(skb, off, &p->t, &f) : parse_ip4(skb, off, &p->t, &f);
	if (err)
		return err;
	p->l3 = off;
	p->l4 = f.l4;
	p->end = f.end;
	p->v6 = v6;
	p->ttl = f.ttl;
	p->later_frag = f.later;
	p->frag = f.first | f.later;
	if (!f.later) {
		err = parse_l4(skb, &p->t, &f, &p->kind);
		if (err)
			return err;
	}
	if (f.first || f.later)
		return parse_frag(p, &f);
	return DROP_NONE;
}

/* Parses a frame; only call it for IP. */
__global int parse(struct __sk_buff *skb, struct pkt *p)
{
	if (!p)
		return DROP_MALFORMED;
	__builtin_memset(p, 0, sizeof(*p));
	int err = parse_at(skb, ETH_LEN, skb->protocol == bpf_htons(ETH_P_IPV6), p);
	if (err)
		return err;
	if (p->later_frag)
		return DROP_NONE;
	if (p->t.proto == PROTO_TCP) {
		if (bpf_skb_load_bytes(skb, p->l4 + 13, &p->tcp_flags, 1))
			return DROP_MALFORMED;
		p->opens = (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	} else if (p->t.proto == PROTO_UDP) {
		__u16 csum;
		if (bpf_skb_load_bytes(skb, p->l4 + 6, &csum, 2))
			return DROP_MALFORMED;
		p->udp_no_csum = csum == 0;
	} else if (p->t.proto == PROTO_SCTP) {
		__u32 tag; /* INIT alone has none (RFC 9260 section 8.5.1) */
		if (bpf_skb_load_bytes(skb, p->l4 + 4, &tag, 4))
			return DROP_MALFORMED;
		p->opens = tag == 0;
	}
	return DROP_NONE;
}

/* The packet that an ICMP error quotes. */
__global int parse_inner(struct __sk_buff *skb, const struct pkt *p, struct pkt *inner)
{
	if (!p || !inner)
		return DROP_MALFORMED;
	__builtin_memset(inner, 0, sizeof(*inner));
	return parse_at(skb, p->l4 + 8, p->v6, inner);
}

static __always_inline bool is_ip(const struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
}

/* A packet that only makes sense to who has seen the ones before it. */
static __always_inline bool midway(const struct pkt *p)
{
	return (p->t.proto == PROTO_TCP || p->t.proto == PROTO_SCTP) && !p->opens;
}
