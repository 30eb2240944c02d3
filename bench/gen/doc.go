// Package gen makes traffic for the benchmarks, and counts what of it arrives.
//
// # Sources
//
//	LiveFrames   UDP of N flows, all-new connections, SYN floods: made in the kernel
//	TCPFlows     TCP connections with real handshakes, then data: made in the kernel
//	SendAFXDP    the same UDP from an independent hand: github.com/asavie/xdp and gopacket
//	Replay       a capture file, each packet from the side that it came from
//	Bulk, Ask    real applications over the kernel's own TCP
//
// Every source is bounded in time and in count. LiveFrames is the fast one: an XDP program
// that the kernel runs on frames of its own (BPF_PROG_RUN with BPF_F_TEST_XDP_LIVE_FRAMES,
// Documentation/bpf/bpf_prog_run.rst), redirected out of a link. The frames are recycled
// and come back as whoever received them left them, so the program writes every header
// byte of every frame anew.
//
// # Marks and the sink
//
// The payloads of LiveFrames, TCPFlows and SendAFXDP begin with a Mark: flow, number
// within the flow, time of sending. Sink is an XDP program on the last link that reads
// them: frames, gaps, duplicates and reordering of each flow, and a histogram of one-way
// latency. It answers TCP too (SinkAnswers). An XDP program on a veth costs whoever sends
// to it with AF_XDP a copy of every frame (drivers/net/veth.c, veth_convert_skb_to_xdp_buff), so
// rows that measure the rate alone read the link's own counter instead.
//
// Whatever is tied to a link is opened on a thread inside the link's namespace
// (lab.Namespace.Do).
package gen

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package gen -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu" live live.bpf.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package gen -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu" sink sink.bpf.c
