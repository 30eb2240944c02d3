package xdp

// The objects are committed, so that building needs no C compiler. To make them anew:
// clang 14 or later, llvm-strip and the headers of libbpf 1.x (Debian: clang llvm
// libbpf-dev). The multiarch folders are where Debian keeps <asm/types.h>; elsewhere
// they do not exist, and clang passes over them.

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package xdp -target bpfel,bpfeb -cflags "-O2 -Wall -Wextra -Werror -Wno-unused-parameter -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" kernel programs.c
