//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// What the programs of this folder share: the mark and the writing of headers. Every
// field is written from values, never from what the frame held before, because frames
// are recycled and come back as their receiver left them.
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define INLINE static __always_inline

// Mark: the first bytes of a payload, drawn in mark.go.
#define MAGIC 0x4846
struct mark {
	__be16 magic;
	__be32 flow;
	__be32 number;
	__be64 time; // CLOCK_MONOTONIC ns
} __attribute__((packed, aligned(2)));

// The options of SYN and SYN/ACK: maximum segment size 1460, no-operation, window scale
// 7. With 65535 announced, a window is 8 MiB.
#define SYN_OPTIONS 8
#define OPTION_MSS 0x020405b4
#define OPTION_SCALE 0x01030307

#define FRAME_MIN 60 // without the FCS
#define FRAME_UDP (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr) + sizeof(struct mark))
#define FRAME_TCP (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct tcphdr) + sizeof(struct mark))
#define FRAME_SYN (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct tcphdr) + SYN_OPTIONS)

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10

// Two ends of a flow, in host order.
struct ends {
	__u32 src, dst;
	__u16 sport, dport;
};

INLINE __u32 halves(__u32 v) { return (v >> 16) + (v & 0xffff); }

INLINE __be16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return bpf_htons(~sum);
}

INLINE void write_ethernet(struct ethhdr *eth, const __u8 *dst, const __u8 *src)
{
	__builtin_memcpy(eth->h_dest, dst, 6);
	__builtin_memcpy(eth->h_source, src, 6);
	eth->h_proto = bpf_htons(ETH_P_IP);
}

INLINE void write_ip(struct iphdr *ip, const struct ends *e, __u8 protocol, __u16 length, __u16 id)
{
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(length);
	ip->id = bpf_htons(id);
	ip->frag_off = bpf_htons(0x4000); // do not fragment
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->saddr = bpf_htonl(e->src);
	ip->daddr = bpf_htonl(e->dst);
	ip->check = fold(0x4500 + length + id + 0x4000 + (64 << 8 | protocol) + halves(e->src) + halves(e->dst));
}

// pseudo is the sum of the pseudo header and of the ports.
INLINE __u32 pseudo(const struct ends *e, __u8 protocol, __u16 length)
{
	return halves(e->src) + halves(e->dst) + protocol + length + e->sport + e->dport;
}

// write_mark returns the sum of the mark.
INLINE __u32 write_mark(struct mark *m, __u32 flow, __u32 number, __u64 time)
{
	m->magic = bpf_htons(MAGIC);
	m->flow = bpf_htonl(flow);
	m->number = bpf_htonl(number);
	m->time = bpf_cpu_to_be64(time);
	return MAGIC + halves(flow) + halves(number) + halves(time >> 32) + halves((__u32)time);
}

// write_udp completes a datagram whose payload sums up to sum.
INLINE void write_udp(struct udphdr *udp, const struct ends *e, __u16 length, __u32 sum)
{
	udp->source = bpf_htons(e->sport);
	udp->dest = bpf_htons(e->dport);
	udp->len = bpf_htons(length);
	udp->check = fold(pseudo(e, IPPROTO_UDP, length) + length + sum);
	if (!udp->check)
		udp->check = 0xffff;
}

struct segment {
	__u32 seq, ack;
	__u8 flags;
	__u8 words;   // of the header
	__u16 length; // of header and payload
};

// write_tcp completes a segment whose options and payload sum up to sum.
INLINE void write_tcp(struct tcphdr *tcp, const struct ends *e, const struct segment *s, __u32 sum)
{
	__u16 *w = (void *)tcp;

	tcp->source = bpf_htons(e->sport);
	tcp->dest = bpf_htons(e->dport);
	tcp->seq = bpf_htonl(s->seq);
	tcp->ack_seq = bpf_htonl(s->ack);
	w[6] = bpf_htons(s->words << 12 | s->flags);
	tcp->window = 0xffff;
	tcp->urg_ptr = 0;
	tcp->check = fold(pseudo(e, IPPROTO_TCP, s->length) + halves(s->seq) + halves(s->ack) + (s->words << 12 | s->flags) + 0xffff + sum);
}

// write_syn_options returns the sum of the options.
INLINE __u32 write_syn_options(struct tcphdr *tcp)
{
	__be32 *option = (void *)(tcp + 1);

	option[0] = bpf_htonl(OPTION_MSS);
	option[1] = bpf_htonl(OPTION_SCALE);
	return halves(OPTION_MSS) + halves(OPTION_SCALE);
}

// cut gives the frame another length. The barrier keeps the compiler from moving size into
// the arithmetic of pointers, which the verifier refuses.
INLINE int cut(struct xdp_md *ctx, __u32 size)
{
	int length = (long)ctx->data_end - (long)ctx->data;

	asm volatile("" : "+r"(length));
	return bpf_xdp_adjust_tail(ctx, (int)size - length);
}

// swap_macs sends a frame back where it came from.
INLINE void swap_macs(struct ethhdr *eth)
{
	__u8 mac[6];

	__builtin_memcpy(mac, eth->h_dest, 6);
	__builtin_memcpy(eth->h_dest, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, mac, 6);
}

// bare_ack turns the frame, whose ends are e, into an acknowledgement without payload and
// sends it back.
INLINE int bare_ack(struct xdp_md *ctx, const struct ends *e, __u32 seq, __u32 ack)
{
	struct ends back = {e->dst, e->src, e->dport, e->sport};
	struct segment s = {seq, ack, ACK, 5, sizeof(struct tcphdr)};

	if (cut(ctx, FRAME_MIN))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + FRAME_MIN > end)
		return XDP_DROP;
	swap_macs(data);
	write_ip(data + sizeof(struct ethhdr), &back, IPPROTO_TCP, sizeof(struct iphdr) + sizeof(struct tcphdr), 0);
	write_tcp(data + sizeof(struct ethhdr) + sizeof(struct iphdr), &back, &s, 0);
	return XDP_TX;
}
