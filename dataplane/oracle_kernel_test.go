package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/dataplane/packet"
	"holdfast/internal/lab"
)

// kernelJudge is the running kernel with nftables as the firewall of
//
//	inside 10/8, fd00:1::/32 --- tlan [ router: nf_nat ] twan --- outside
//
// whose links are TUN devices: a packet that is written into one is forwarded, translated
// and there to be read from the other when write returns.
type kernelJudge struct {
	tun [2]int // by port
	buf []byte
}

// kernelNAT is oraclePolicy in the kernel's words.
const kernelNAT = `
table inet oracle {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "twan" ip daddr 203.0.113.2 tcp dport 8080 dnat ip to 10.0.0.20:80
		iifname "twan" ip daddr 203.0.113.2 udp dport 5353 dnat ip to 10.0.0.21:53
		iifname "twan" ip daddr 198.51.100.0/28 dnat ip prefix to 10.1.0.0/28
		iifname "twan" ip6 daddr 2001:db8:0:2::2 tcp dport 8080 dnat ip6 to [fd00:1::20]:80
	}
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "twan" ip saddr 10.1.0.0/28 snat ip prefix to 198.51.100.0/28
		oifname "twan" ip saddr 10.2.0.0/24 snat ip to 203.0.113.3
		oifname "twan" ip saddr 10.0.0.0/24 masquerade
		oifname "twan" ip6 saddr fd00:1::/64 masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state invalid drop
		ct state established,related accept
		iifname "tlan" accept
		iifname "twan" ct status dnat accept
	}
}
`

// newKernelJudge builds the router, or skips where that cannot be done.
func newKernelJudge(t *testing.T) *kernelJudge {
	t.Helper()
	l := lab.ForTest(t)
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("skipped, needs nft to make the kernel translate: ", err)
	}
	router, err := l.Namespace("router")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range [][2]string{
		{"net/ipv4/ip_forward", "1"}, {"net/ipv6/conf/all/forwarding", "1"},
		{"net/ipv4/conf/all/rp_filter", "0"}, {"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv4/conf/all/send_redirects", "0"}, {"net/ipv4/conf/default/send_redirects", "0"},
		{"net/ipv4/icmp_ratelimit", "0"}, {"net/ipv6/icmp/ratelimit", "0"},
		{"net/ipv6/conf/default/accept_dad", "0"}, {"net/ipv6/conf/default/router_solicitations", "0"},
		{"net/ipv6/conf/default/addr_gen_mode", "1"}, // no link-local addresses: no chatter
	} {
		if err := router.Sysctl(s[0], s[1]); err != nil {
			t.Skipf("skipped, this kernel lacks a setting: %v", err)
		}
	}
	k := &kernelJudge{tun: [2]int{-1, -1}, buf: make([]byte, 1<<16)}
	t.Cleanup(k.close)
	for _, link := range []struct {
		port      packet.PortID
		name      string
		addresses []string
		routes    []string
	}{
		{lan, "tlan", []string{"10.0.0.1/24", "fd00:1::1/64"}, []string{"10.1.0.0/28", "10.2.0.0/24"}},
		{wan, "twan", []string{"203.0.113.2/24", "2001:db8:0:2::2/64"}, []string{"198.18.0.0/15", "2001:db8:9::/48"}},
	} {
		if k.tun[link.port], err = router.TUN(link.name); err != nil {
			t.Skipf("skipped: %v", err)
		}
		errs := []error{}
		for _, a := range link.addresses {
			errs = append(errs, router.Address(link.name, netip.MustParsePrefix(a)))
		}
		errs = append(errs, router.Up(link.name))
		for _, r := range link.routes {
			errs = append(errs, router.Route(netip.MustParsePrefix(r), netip.Addr{}, link.name))
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	err = router.Do(func() error {
		cmd := exec.Command(nft, "-f", "-")
		cmd.Stdin = strings.NewReader(kernelNAT)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Skipf("skipped, the kernel does not translate: %v", err)
	}
	// Now that the chains are loaded the tracker has its settings.
	for _, s := range [][2]string{
		{"net/netfilter/nf_conntrack_tcp_loose", "0"}, {"net/netfilter/nf_conntrack_checksum", "1"},
	} {
		if err := router.Sysctl(s[0], s[1]); err != nil {
			t.Skipf("skipped, this kernel lacks a setting: %v", err)
		}
	}
	return k
}

func (k *kernelJudge) close() {
	for _, fd := range k.tun {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing to flush
		}
	}
}

// send gives the kernel a packet, and returns what it sends.
func (k *kernelJudge) send(in packet.PortID, ip []byte) (all []out, err error) {
	if _, err := unix.Write(k.tun[in], ip); err != nil && !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("tun: write: %w", err)
	}
	for port, fd := range k.tun {
		for {
			n, err := unix.Read(fd, k.buf)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("tun: read: %w", err)
			}
			if k.buf[0]>>4 == 6 && k.buf[24] == 0xff {
				continue // the router's own chatter, to a group
			}
			all = append(all, out{packet.PortID(port), append([]byte(nil), k.buf[:n]...)})
		}
	}
	return all, nil
}
