//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Writes a 64-byte UDP frame (60 without the FCS) of one of many flows and redirects
// it out of a link. Flow f is source address base + f / 32768, source port
// 16384 + f % 32768; destination and MACs are fixed.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct config {
	__u8 dst_mac[6];
	__u8 src_mac[6];
	__u32 src;      // host order: first source address
	__u32 dst;      // host order
	__u32 flows;    // at least 1
	__u32 ifindex;  // the link to send out of
	__u16 dst_port; // host order
	__u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sent SEC(".maps");

#define FRAME 60

SEC("xdp")
int live_frames(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)(ip + 1);
	__u64 *payload = (void *)(udp + 1);
	__u32 zero = 0;
	struct config *c = bpf_map_lookup_elem(&settings, &zero);
	__u64 *n = bpf_map_lookup_elem(&sent, &zero);

	if (!c || !n || data + FRAME > end)
		return XDP_DROP;
	__u64 number = (*n)++;
	__u32 flow = c->flows ? number % c->flows : 0;

	__builtin_memcpy(eth->h_dest, c->dst_mac, 6);
	__builtin_memcpy(eth->h_source, c->src_mac, 6);
	eth->h_proto = bpf_htons(ETH_P_IP);

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(FRAME - sizeof(*eth));
	ip->id = bpf_htons((__u16)number);
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->protocol = 17;
	ip->saddr = bpf_htonl(c->src + (flow >> 15));
	ip->daddr = bpf_htonl(c->dst);
	ip->check = 0;
	__u32 sum = 0;
	__u16 *w = (void *)ip;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;

	udp->source = bpf_htons(16384 + (flow & 0x7fff));
	udp->dest = bpf_htons(c->dst_port);
	udp->len = bpf_htons(FRAME - sizeof(*eth) - sizeof(*ip));
	udp->check = 0;
	if ((void *)(payload + 2) <= end) {
		payload[0] = number;
		payload[1] = 0;
	}
	return bpf_redirect(c->ifindex, 0);
}

char __license[] SEC("license") = "Dual BSD/GPL";
