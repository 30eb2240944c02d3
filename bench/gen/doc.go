// Package gen makes traffic for the benchmarks.
//
// LiveFrames is the fast source: an XDP program that the kernel runs on frames of its
// own (BPF_PROG_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Documentation/bpf/bpf_prog_run.rst),
// redirected out of a link. The frames are recycled and come back as whoever received
// them left them, so the program writes every header byte of every frame anew.
package gen

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package gen -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu" live live.bpf.c
