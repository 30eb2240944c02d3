//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// The sink: an XDP program on the last link. It reads the marks of what arrives, counts
// and drops; sink_answer is a TCP server besides, one that keeps no state.
#include "frame.h"

struct sink_config {
	__u32 flows;    // that have a record; others are only counted
	__u16 dst_port; // host order
	__u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sink_config);
} sink_settings SEC(".maps");

// What is known of one flow. A frame's number n against next, the lowest that no frame
// has passed:
//   n >= next  n - next frames are missing, for now
//   n < next   late: it was missing (reordered), or it was here before (duplicate). seen
//              remembers the last 64: bit i is number next - 1 - i. What is later than
//              that counts as stale, and stays missing
struct record {
	__u64 seen;
	__u32 next;
	__u32 frames;
	__u32 missing;
	__u32 duplicates;
	__u32 reordered;
	__u32 stale;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); // Go sets it to the number of flows
	__type(key, __u32);
	__type(value, struct record);
} records SEC(".maps");

struct totals {
	__u64 frames; // with a mark
	__u64 bytes;  // of these, without the FCS
	__u64 syns;
	__u64 bare;   // acknowledgements without payload
	__u64 resets;
	__u64 ends;   // FIN
	__u64 other;  // went up to the kernel
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} sums SEC(".maps");

// The latency histogram, its buckets as in histogram.go: 16 to a power of two.
#define BUCKETS 1024
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} latency SEC(".maps");

// Every how many segments of a connection the server answers with an acknowledgement.
#define ACK_EVERY 16

INLINE __u32 log2_of(__u64 v) // of v > 0
{
	__u32 n = 0;

	if (v >> 32) { n += 32; v >>= 32; }
	if (v >> 16) { n += 16; v >>= 16; }
	if (v >> 8) { n += 8; v >>= 8; }
	if (v >> 4) { n += 4; v >>= 4; }
	if (v >> 2) { n += 2; v >>= 2; }
	return n + (v >> 1);
}

INLINE __u32 bucket_of(__u64 v)
{
	if (v < 16)
		return v;
	__u32 e = log2_of(v);
	return (e - 3) * 16 + ((v >> (e - 4)) & 15);
}

INLINE void record_number(struct record *r, __u32 number)
{
	__s32 ahead = number - r->next;

	r->frames++;
	if (ahead >= 0) {
		r->missing += ahead;
		r->seen = ahead < 63 ? r->seen << (ahead + 1) | 1 : 1;
		r->next = number + 1;
		return;
	}
	__u32 back = -ahead - 1;
	if (back >= 64) {
		r->stale++;
		return;
	}
	__u64 bit = 1ULL << (back & 63);
	if (r->seen & bit) {
		r->duplicates++;
		return;
	}
	r->seen |= bit;
	r->reordered++;
	r->missing--;
}

// account counts a frame with a mark.
INLINE void account(struct totals *t, const struct sink_config *c, const struct mark *m, __u32 bytes)
{
	__u32 flow = bpf_ntohl(m->flow);
	__s64 took = bpf_ktime_get_ns() - bpf_be64_to_cpu(m->time);
	__u32 bucket = bucket_of(took < 0 ? 0 : took);
	__u64 *count = bpf_map_lookup_elem(&latency, &bucket);
	struct record *r = bpf_map_lookup_elem(&records, &flow);

	t->frames++;
	t->bytes += bytes;
	if (count)
		(*count)++;
	if (r && flow < c->flows)
		record_number(r, bpf_ntohl(m->number));
}

// What a frame is to the sink, and where its mark is.
enum { OTHER, MARKED, SEGMENT };

INLINE int classify(const struct sink_config *c, void *data, void *end, struct mark **mark)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return OTHER;
	if (ip->frag_off & bpf_htons(0x3fff) || udp->dest != bpf_htons(c->dst_port))
		return OTHER;
	struct mark *m;
	int plain = OTHER;
	if (ip->protocol == IPPROTO_UDP) {
		m = (void *)(udp + 1);
	} else if (ip->protocol == IPPROTO_TCP && (void *)(tcp + 1) <= end) {
		m = (void *)(tcp + 1);
		plain = SEGMENT;
		if (tcp->doff != 5)
			return SEGMENT;
	} else {
		return OTHER;
	}
	if ((void *)(m + 1) > end || m->magic != bpf_htons(MAGIC))
		return plain;
	*mark = m;
	return MARKED;
}

INLINE int take(struct xdp_md *ctx, struct totals *t, struct mark **mark)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct sink_config *c = bpf_map_lookup_elem(&sink_settings, &zero);

	if (!c)
		return OTHER;
	int is = classify(c, data, end, mark);
	if (is == MARKED)
		account(t, c, *mark, end - data);
	else if (is == OTHER)
		t->other++;
	return is;
}

INLINE void count_segment(struct totals *t, const struct tcphdr *tcp)
{
	if (tcp->rst)
		t->resets++;
	else if (tcp->syn)
		t->syns++;
	else if (tcp->fin)
		t->ends++;
	else
		t->bare++;
}

SEC("xdp")
int sink_count(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct mark *mark = 0;
	struct totals *t = bpf_map_lookup_elem(&sums, &zero);
	if (!t)
		return XDP_PASS;
	int is = take(ctx, t, &mark);
	if (is == SEGMENT) {
		void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
		struct tcphdr *tcp = data + sizeof(struct ethhdr) + sizeof(struct iphdr);
		if ((void *)(tcp + 1) <= end)
			count_segment(t, tcp);
	}
	return is == OTHER ? XDP_PASS : XDP_DROP;
}

// syn_ack answers a SYN. The sequence number follows from the client's, so that a
// repeated SYN gets the same answer.
INLINE int syn_ack(struct xdp_md *ctx, const struct ends *e, __u32 seq)
{
	struct ends back = {e->dst, e->src, e->dport, e->sport};
	struct segment s = {seq ^ 0x5a5a5a5a, seq + 1, SYN | ACK, (sizeof(struct tcphdr) + SYN_OPTIONS) / 4, sizeof(struct tcphdr) + SYN_OPTIONS};

	if (cut(ctx, FRAME_SYN))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct tcphdr *tcp = (void *)(ip + 1);
	if (data + FRAME_SYN > end)
		return XDP_DROP;
	swap_macs(data);
	write_ip(ip, &back, IPPROTO_TCP, FRAME_SYN - sizeof(struct ethhdr), 0);
	write_tcp(tcp, &back, &s, write_syn_options(tcp));
	return XDP_TX;
}

SEC("xdp")
int sink_answer(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct mark *mark = 0;
	struct totals *t = bpf_map_lookup_elem(&sums, &zero);
	if (!t)
		return XDP_PASS;
	int is = take(ctx, t, &mark);
	if (is == OTHER)
		return XDP_PASS;

	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct tcphdr *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > end || ip->protocol != IPPROTO_TCP)
		return XDP_DROP;
	struct ends e = {bpf_ntohl(ip->saddr), bpf_ntohl(ip->daddr), bpf_ntohs(tcp->source), bpf_ntohs(tcp->dest)};
	__u32 seq = bpf_ntohl(tcp->seq), ack = bpf_ntohl(tcp->ack_seq);
	if (is == SEGMENT) {
		count_segment(t, tcp);
		if (tcp->syn && !tcp->ack && !tcp->rst)
			return syn_ack(ctx, &e, seq);
		return XDP_DROP;
	}
	__u32 length = bpf_ntohs(ip->tot_len) - sizeof(*ip) - sizeof(*tcp);
	if (!mark || (void *)(mark + 1) > end || bpf_ntohl(mark->number) % ACK_EVERY)
		return XDP_DROP;
	return bare_ack(ctx, &e, ack, seq + length);
}

char __license[] SEC("license") = "Dual BSD/GPL";
