//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// The sources of LiveFrames and of TCPFlows. The kernel runs a program live_* on frames
// of its own; each run writes one frame and redirects it out of a link, or drops it
// where none is due. Frames come with one byte too many and are always cut: live.go, room,
// says why. Flow f is source address base + f / 32768, source port
// 16384 + f % 32768; destination and MACs are fixed.
#include "frame.h"

struct config {
	__u8 dst_mac[6];
	__u8 src_mac[6];
	__u32 src;      // host order: first source address
	__u32 dst;      // host order
	__u32 flows;    // at least 1; of the SYN flood: a mask of source addresses
	__u32 ifindex;  // the link to send out of
	__u16 dst_port; // host order
	__u16 size;     // bytes of a frame; 0: IMIX
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} settings SEC(".maps");

// How far a source is. Go sets until, start, base and rate before it runs a program.
struct progress {
	__u64 sent;   // frames written
	__u64 cursor; // flows looked at
	__u64 until;  // write no more once sent is here
	__u64 start;  // ns, base: frame base + n is due n / rate seconds later
	__u64 base;
	__u64 rate;   // frames/s; 0: as fast as can be
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct progress);
} state SEC(".maps");

// A connection of TCPFlows. The source writes next, number, resent, asked; tcp_client,
// perhaps on another core, writes acked, peer and state; next too, when it opens.
enum { CLOSED, OPEN, DEAD };
struct tcp_flow {
	__u32 next;   // sequence number of the next byte
	__u32 number; // of the next mark
	__u32 resent; // how often the source went back to acked
	__u32 acked;  // highest acknowledgement of the far side
	__u32 peer;   // next sequence number of the far side
	__u32 state;
	__u32 asked;  // when the last SYN left, in units of 2^20 ns; of a closed one
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); // Go sets it to the number of flows
	__type(key, __u32);
	__type(value, struct tcp_flow);
} flows SEC(".maps");

struct answers {
	__u64 opened; // connections
	__u64 acks;   // acknowledgements of data
	__u64 resets;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answers);
} answered SEC(".maps");

// How far a connection may run ahead of its acknowledgements: an eighth of its window.
#define AHEAD (1 << 20)

// due says whether another frame is to be written now.
INLINE int due(const struct progress *p, __u64 now)
{
	if (p->sent >= p->until)
		return 0;
	return !p->rate || (p->sent - p->base) * 1000000000ULL <= (now - p->start) * p->rate;
}

// The simple IMIX: 7 small, 4 medium, 1 large, and of every flow in turn.
INLINE __u32 size_of(const struct config *c, __u32 turn, __u32 smallest)
{
	if (c->size)
		return c->size;
	turn %= 12;
	return turn < 7 ? smallest : turn < 11 ? 590 : 1514;
}

INLINE struct ends ends_of(const struct config *c, __u32 flow)
{
	struct ends e = {c->src + (flow >> 15), c->dst, 16384 + (flow & 0x7fff), c->dst_port};

	return e;
}

#define SETTINGS(c, p)                                               \
	__u32 zero = 0;                                              \
	struct config *c = bpf_map_lookup_elem(&settings, &zero);    \
	struct progress *p = bpf_map_lookup_elem(&state, &zero);     \
	if (!c || !p || !c->flows)                                   \
		return XDP_DROP

SEC("xdp")
int live_udp(struct xdp_md *ctx)
{
	SETTINGS(c, p);
	__u64 now = bpf_ktime_get_ns();
	if (!due(p, now))
		return XDP_DROP;
	__u64 n = p->sent++;
	__u32 flow = n % c->flows, number = n / c->flows;
	if (cut(ctx, size_of(c, flow + number, FRAME_UDP)))
		return XDP_DROP;

	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct udphdr *udp = (void *)(ip + 1);
	struct mark *mark = (void *)(udp + 1);
	if ((void *)(mark + 1) > end)
		return XDP_DROP;
	struct ends e = ends_of(c, flow);
	__u16 length = end - (void *)ip;
	write_ethernet(data, c->dst_mac, c->src_mac);
	write_ip(ip, &e, IPPROTO_UDP, length, n);
	write_udp(udp, &e, length - sizeof(*ip), write_mark(mark, flow, number, now));
	return bpf_redirect(c->ifindex, 0);
}

// syn writes a SYN with options.
INLINE int syn(struct xdp_md *ctx, const struct config *c, const struct ends *e, __u32 seq)
{
	if (cut(ctx, FRAME_SYN))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct segment s = {seq, 0, SYN, (sizeof(*tcp) + SYN_OPTIONS) / 4, sizeof(*tcp) + SYN_OPTIONS};
	if (data + FRAME_SYN > end)
		return XDP_DROP;
	write_ethernet(data, c->dst_mac, c->src_mac);
	write_ip(ip, e, IPPROTO_TCP, FRAME_SYN - sizeof(struct ethhdr), seq);
	write_tcp(tcp, e, &s, write_syn_options(tcp));
	return bpf_redirect(c->ifindex, 0);
}

// Each SYN from an address and a port drawn by lot.
SEC("xdp")
int live_syn_flood(struct xdp_md *ctx)
{
	SETTINGS(c, p);
	if (!due(p, bpf_ktime_get_ns()))
		return XDP_DROP;
	p->sent++;
	__u32 lot = bpf_get_prandom_u32();
	struct ends e = {c->src | (bpf_get_prandom_u32() & c->flows), c->dst, 1024 + lot % 64512, c->dst_port};
	return syn(ctx, c, &e, bpf_get_prandom_u32());
}

// How long an answer to a SYN is waited for, in units of 2^20 ns. RFC 6298 says 1 s; no
// path of a laboratory takes that long.
#define PATIENCE 50

// A SYN for every connection in turn that is not open yet. The second SYN of a connection
// repeats the first.
SEC("xdp")
int live_tcp_open(struct xdp_md *ctx)
{
	SETTINGS(c, p);
	__u64 now = bpf_ktime_get_ns();
	if (!due(p, now))
		return XDP_DROP;
	__u32 flow = p->cursor++ % c->flows, tick = now >> 20;
	struct tcp_flow *f = bpf_map_lookup_elem(&flows, &flow);
	if (!f || f->state != CLOSED || (f->asked && tick - f->asked < PATIENCE))
		return XDP_DROP;
	f->asked = tick;
	p->sent++;
	struct ends e = ends_of(c, flow);
	return syn(ctx, c, &e, flow * 2654435761u);
}

// The next segment of every open connection in turn.
SEC("xdp")
int live_tcp_data(struct xdp_md *ctx)
{
	SETTINGS(c, p);
	__u64 now = bpf_ktime_get_ns();
	if (!due(p, now))
		return XDP_DROP;
	__u64 n = p->cursor++;
	__u32 flow = n % c->flows;
	struct tcp_flow *f = bpf_map_lookup_elem(&flows, &flow);
	if (!f || f->state != OPEN)
		return XDP_DROP;
	if (cut(ctx, size_of(c, flow + f->number, FRAME_TCP)))
		return XDP_DROP;

	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct mark *mark = (void *)(tcp + 1);
	if ((void *)(mark + 1) > end)
		return XDP_DROP;
	if (f->next - f->acked > AHEAD) { // acknowledgements were lost: send again from there
		f->next = f->acked;
		f->resent++;
	}
	struct ends e = ends_of(c, flow);
	__u16 length = end - (void *)ip;
	struct segment s = {f->next, f->peer, ACK | PSH, sizeof(*tcp) / 4, length - sizeof(*ip)};
	write_ethernet(data, c->dst_mac, c->src_mac);
	write_ip(ip, &e, IPPROTO_TCP, length, n);
	write_tcp(tcp, &e, &s, write_mark(mark, flow, f->number, now));
	f->next += s.length - sizeof(*tcp);
	f->number++;
	p->sent++;
	return bpf_redirect(c->ifindex, 0);
}

// The client's receiving end, on the link that the frames leave by: completes handshakes
// and takes in acknowledgements. What is not of its connections goes up to the kernel.
SEC("xdp")
int tcp_client(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 zero = 0;
	struct config *c = bpf_map_lookup_elem(&settings, &zero);
	struct answers *a = bpf_map_lookup_elem(&answered, &zero);

	if (!c || !a || (void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	struct ends e = {bpf_ntohl(ip->saddr), bpf_ntohl(ip->daddr), bpf_ntohs(tcp->source), bpf_ntohs(tcp->dest)};
	__u32 flow = (e.dst - c->src) << 15 | ((e.dport - 16384) & 0x7fff);
	struct tcp_flow *f = bpf_map_lookup_elem(&flows, &flow);
	if (!f || e.src != c->dst || e.sport != c->dst_port || e.dport < 16384 || e.dport >= 16384 + 32768)
		return XDP_PASS;
	__u32 seq = bpf_ntohl(tcp->seq), ack = bpf_ntohl(tcp->ack_seq);
	if (tcp->rst) {
		if (f->state == OPEN)
			f->state = DEAD;
		__sync_fetch_and_add(&a->resets, 1);
		return XDP_DROP;
	}
	if (!tcp->ack)
		return XDP_DROP;
	if (!tcp->syn) {
		if ((__s32)(ack - f->acked) > 0)
			f->acked = ack;
		__sync_fetch_and_add(&a->acks, 1);
		return XDP_DROP;
	}
	if (f->state == CLOSED) {
		f->next = f->acked = ack;
		f->peer = seq + 1;
		f->state = OPEN;
		__sync_fetch_and_add(&a->opened, 1);
	}
	return bare_ack(ctx, &e, ack, seq + 1); // again where the first was lost
}

char __license[] SEC("license") = "Dual BSD/GPL";
