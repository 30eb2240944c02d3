package oracle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/internal/lab"
)

// kernel is the running kernel's tracker, in the router of
//
//	client 10/8 --- tlan [ router: nf_conntrack, nft ] twan --- server 198.18/15
//
// where both links are TUN devices whose far ends are file descriptors of this process.
type kernel struct {
	tun     [2]int // by side
	nl      int
	seq     uint32
	request []byte
	reply   []byte
	out     []byte
}

const ruleset = `
table ip oracle {
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct state invalid drop
		ct state new iifname "twan" ip daddr != 10.128.0.0/9 drop
	}
}
`

// kernelSettings are those on which BEHAVIOUR 1 stands, given outright.
var kernelSettings = [][2]string{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/icmp_ratelimit", "0"},
	{"net/ipv6/conf/default/disable_ipv6", "1"}, // no chatter on the links
}

var trackerSettings = [][2]string{
	{"net/netfilter/nf_conntrack_tcp_loose", "0"},
	{"net/netfilter/nf_conntrack_tcp_be_liberal", "0"},
	{"net/netfilter/nf_conntrack_tcp_ignore_invalid_rst", "0"},
	{"net/netfilter/nf_conntrack_tcp_max_retrans", "3"},
	{"net/netfilter/nf_conntrack_checksum", "1"},
}

// newKernel builds the router, or skips where that cannot be done.
func newKernel(t *testing.T) *kernel {
	t.Helper()
	l := lab.ForTest(t)
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("skipped, needs nft to make the kernel's tracker work: ", err)
	}
	router, err := l.Namespace("router")
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{tun: [2]int{-1, -1}, nl: -1, reply: make([]byte, 8192), out: make([]byte, 65536)}
	t.Cleanup(k.close)
	settle := func(settings [][2]string) {
		for _, s := range settings {
			if err := router.Sysctl(s[0], s[1]); err != nil {
				t.Skipf("skipped, this kernel lacks a setting of the tracker: %v", err)
			}
		}
	}
	settle(kernelSettings)
	for _, link := range []struct {
		side      side
		name      string
		address   string
		farPrefix string
	}{{lan, "tlan", "172.31.1.1/30", "10.0.0.0/8"}, {wan, "twan", "172.31.2.1/30", "198.18.0.0/15"}} {
		if k.tun[link.side], err = router.TUN(link.name); err != nil {
			t.Skipf("skipped, needs TUN devices: %v", err)
		}
		if err := errors.Join(
			router.Address(link.name, netip.MustParsePrefix(link.address)),
			router.Up(link.name),
			router.Route(netip.MustParsePrefix(link.farPrefix), netip.Addr{}, link.name),
		); err != nil {
			t.Fatal(err)
		}
	}
	err = router.Do(func() error {
		cmd := exec.Command(nft, "-f", "-")
		cmd.Stdin = strings.NewReader(ruleset)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		k.nl, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		t.Skipf("skipped, the kernel's tracker cannot be used: %v", err)
	}
	settle(trackerSettings)
	return k
}

func (k *kernel) close() {
	for _, fd := range []int{k.tun[lan], k.tun[wan], k.nl} {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing to flush
		}
	}
}

// send forwards a frame, or not, and looks at the entry of its flow.
func (k *kernel) send(frame []byte, from side, f *flow) (o observation, err error) {
	ip := frame[etherLen:]
	if _, err := unix.Write(k.tun[from], ip); err != nil && !errors.Is(err, unix.EINVAL) {
		return o, fmt.Errorf("tun: write: %w", err)
	}
	n, err := unix.Read(k.tun[from.peer()], k.out)
	switch {
	case err == nil:
		if n < ipLen || binary.BigEndian.Uint16(k.out[4:]) != binary.BigEndian.Uint16(ip[4:]) {
			return o, fmt.Errorf("tun: another packet came out: % x", k.out[:n])
		}
		o.passed = true
	case !errors.Is(err, unix.EAGAIN):
		return o, fmt.Errorf("tun: read: %w", err)
	}
	return o, k.look(&o, f)
}

// The numbers of ctnetlink (linux/netfilter/nfnetlink_conntrack.h).
const (
	subsysConntrack = 1
	msgNew          = 0
	msgGet          = 1
	msgDelete       = 2

	attrNested    = 1 << 15
	attrTuple     = 1
	attrStatus    = 3
	attrProtoInfo = 4
	attrTimeout   = 7

	statusSeenReply = 1 << 1
	statusAssured   = 1 << 2
)

// mark is the timeout, in s, that every entry is given after each look. No timer of the
// tracker is near it.
const mark = 777_777

// look asks for the entry of a flow and marks it.
func (k *kernel) look(o *observation, f *flow) error {
	k.request = k.request[:0]
	k.message(msgGet, f, nil)
	k.message(msgNew, f, binary.BigEndian.AppendUint32([]byte{8, 0, attrTimeout, 0}, mark))
	if _, err := unix.Write(k.nl, k.request); err != nil {
		return fmt.Errorf("ctnetlink: write: %w", err)
	}
	n, err := unix.Read(k.nl, k.reply)
	if err != nil {
		return fmt.Errorf("ctnetlink: read: %w", err)
	}
	message := k.reply[:n]
	if binary.NativeEndian.Uint16(message[4:]) == unix.NLMSG_ERROR {
		if errno := -int32(binary.NativeEndian.Uint32(message[16:])); unix.Errno(errno) != unix.ENOENT {
			return fmt.Errorf("ctnetlink: get: %w", unix.Errno(errno))
		}
		if _, err := unix.Read(k.nl, k.reply); err != nil { // the mark had no entry either
			return fmt.Errorf("ctnetlink: read: %w", err)
		}
		return nil
	}
	o.exists = true
	attributes(message[20:], func(kind uint16, value []byte) { o.attribute(kind, value) })
	return nil
}

// attribute reads one attribute of an entry.
func (o *observation) attribute(kind uint16, value []byte) {
	switch kind {
	case attrTuple:
		attributes(value, func(kind uint16, value []byte) {
			if kind == 1 { // CTA_TUPLE_IP, whose first is CTA_IP_V4_SRC
				o.reversed = value[4] != 10
			}
		})
	case attrStatus:
		status := binary.BigEndian.Uint32(value)
		o.replied, o.assured = status&statusSeenReply != 0, status&statusAssured != 0
	case attrTimeout:
		o.timeout = int(binary.BigEndian.Uint32(value))
		o.refreshed = o.timeout < mark-10 || o.timeout > mark
	case attrProtoInfo:
		attributes(value, func(kind uint16, value []byte) {
			if kind == 1 { // CTA_PROTOINFO_TCP, whose first is CTA_PROTOINFO_TCP_STATE
				o.state = conntrack.TCPState(value[4])
			}
		})
	}
}

// attributes calls visit for each netlink attribute.
func attributes(b []byte, visit func(kind uint16, value []byte)) {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return
		}
		visit(binary.NativeEndian.Uint16(b[2:])&^(3<<14), b[4:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}

// message appends one request about the entry of a flow, found by the tuple of packets
// from its client.
func (k *kernel) message(kind uint16, f *flow, extra []byte) {
	start := len(k.request)
	k.seq++
	b := k.request
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, subsysConntrack<<8|kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, k.seq)
	b = append(b, 0, 0, 0, 0, unix.AF_INET, 0, 0, 0)
	if f != nil {
		b = appendTuple(b, f)
	}
	b = append(b, extra...)
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	k.request = b
}

// appendTuple appends CTA_TUPLE_ORIG.
func appendTuple(b []byte, f *flow) []byte {
	start := len(b)
	b = nest(b, attrTuple)
	ip := len(b)
	b = nest(b, 1)
	b = append(append(b, 8, 0, 1, 0), f.client[:]...)
	b = append(append(b, 8, 0, 2, 0), f.server[:]...)
	close16(b, ip)
	proto := len(b)
	b = nest(b, 2)
	b = append(b, 5, 0, 1, 0, byte(f.proto), 0, 0, 0)
	if f.proto == packet.ICMP {
		b = binary.BigEndian.AppendUint16(append(b, 6, 0, 4, 0), f.clientPort)
		b = append(b, 0, 0, 5, 0, 5, 0, packet.ICMPEchoRequest, 0, 0, 0, 5, 0, 6, 0, 0, 0, 0, 0)
	} else {
		b = append(binary.BigEndian.AppendUint16(append(b, 6, 0, 2, 0), f.clientPort), 0, 0)
		b = append(binary.BigEndian.AppendUint16(append(b, 6, 0, 3, 0), f.serverPort), 0, 0)
	}
	close16(b, proto)
	close16(b, start)
	return b
}

func nest(b []byte, kind uint16) []byte {
	return binary.NativeEndian.AppendUint16(append(b, 0, 0), kind|attrNested)
}

func close16(b []byte, start int) { binary.NativeEndian.PutUint16(b[start:], uint16(len(b)-start)) }

// tell sets the TCP state of the kernel's entry.
func (k *kernel) tell(f *flow, state conntrack.TCPState) error {
	k.request = k.request[:0]
	k.message(msgNew, f, []byte{16, 0, attrProtoInfo, attrNested >> 8, 12, 0, 1, attrNested >> 8, 5, 0, 1, 0, byte(state), 0, 0, 0})
	k.acknowledge()
	return k.do()
}

// forget removes the entry of a flow, or with nil all entries.
func (k *kernel) forget(f *flow) error {
	k.request = k.request[:0]
	k.message(msgDelete, f, nil)
	k.acknowledge()
	return k.do()
}

// acknowledge asks for an answer to the one message in k.request.
func (k *kernel) acknowledge() {
	binary.NativeEndian.PutUint16(k.request[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
}

func (k *kernel) do() error {
	if _, err := unix.Write(k.nl, k.request); err != nil {
		return fmt.Errorf("ctnetlink: write: %w", err)
	}
	if _, err := unix.Read(k.nl, k.reply); err != nil {
		return fmt.Errorf("ctnetlink: read: %w", err)
	}
	if errno := -int32(binary.NativeEndian.Uint32(k.reply[16:])); errno != 0 && unix.Errno(errno) != unix.ENOENT {
		return fmt.Errorf("ctnetlink: %w", unix.Errno(errno))
	}
	return nil
}
