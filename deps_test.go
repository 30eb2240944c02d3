package holdfast_test

import (
	_ "github.com/asavie/xdp"
	_ "github.com/cespare/xxhash/v2"
	_ "github.com/cilium/ebpf"
	_ "github.com/flynn/noise"
	_ "github.com/gaissmai/bart"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/google/gopacket"
	_ "github.com/google/gopacket/layers"
	_ "github.com/pelletier/go-toml/v2"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "github.com/vishvananda/netlink"
	_ "github.com/vishvananda/netns"
	_ "golang.org/x/crypto/chacha20poly1305"
	_ "golang.org/x/sys/unix"
	_ "pgregory.net/rapid"
)
