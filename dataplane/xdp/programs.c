//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The two programs that make a data port Holdfast's alone, one for each direction:
//
//	wire --> holdfast_rx ------> AF_XDP socket of the receive queue, or nowhere
//	wire <-- (nothing) <-- holdfast_egress <-- the kernel's own packets
//	wire <-- AF_XDP socket, which does not pass holdfast_egress
//
// Neither lets anything pass on any path: an empty map, a full ring, a dead daemon all
// mean that the port is mute. The names of the programs are how a later Holdfast knows
// them again (at most 15 characters); they must not change.

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

// xsks holds the socket of each receive queue. A socket that closes leaves by itself.
// The size bounds the number of queues of a device; a slot costs 8 bytes.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

// silenced counts the packets of the kernel that holdfast_egress dropped.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} silenced SEC(".maps");

// Without a socket in the slot the helper returns its third argument (Linux 5.3).
SEC("xdp")
int holdfast_rx(struct xdp_md *ctx)
{
	return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_DROP);
}

SEC("tc")
int holdfast_egress(struct __sk_buff *skb)
{
	__u32 slot = 0;
	__u64 *count = bpf_map_lookup_elem(&silenced, &slot);

	if (count)
		(*count)++; // of this CPU; egress runs with bottom halves off
	return TC_ACT_SHOT;
}

// No helper above is for GPL programs only; the kernel wants to be told anyhow.
char __license[] SEC("license") = "Dual BSD/GPL";
