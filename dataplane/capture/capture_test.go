package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/dataplane"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/config"
)

// block is a pcapng block as a reader finds it; the tests' reader shares nothing with the writer.
type block struct {
	kind    uint32
	body    []byte
	options map[uint16]string
}

// blocksOf walks a file and fails where anything in it does not add up.
func blocksOf(t *testing.T, data []byte) (all []block) {
	t.Helper()
	le := binary.LittleEndian
	for len(data) > 0 {
		n := le.Uint32(data[4:])
		if n < 12 || n%4 != 0 || int(n) > len(data) || le.Uint32(data[n-4:]) != n {
			t.Fatalf("block of %d bytes where %d are left", n, len(data))
		}
		b := block{kind: le.Uint32(data), body: data[8 : n-4], options: map[uint16]string{}}
		at := map[uint32]int{0x0a0d0d0a: 16, 1: 8, 6: 20}[b.kind]
		if b.kind == 6 {
			at += int(le.Uint32(b.body[12:])+3) &^ 3
		}
		for o := b.body[at:]; ; {
			code, n := le.Uint16(o), int(le.Uint16(o[2:]))
			if code == 0 {
				if len(o) != 4 {
					t.Fatalf("%d bytes behind the options", len(o)-4)
				}
				break
			}
			b.options[code] = string(o[4 : 4+n])
			o = o[4+(n+3)&^3:]
		}
		all = append(all, b)
		data = data[n:]
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

var frame = func() []byte {
	f := make([]byte, 200)
	copy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00")
	return f
}()

// sample is a TCP segment that the rule "ssh" has let pass.
func sample() *dataplane.LoggedPacket {
	p := &dataplane.LoggedPacket{
		At: 5e9, Port: 1, Sense: dataplane.LogInbound, In: 1, Out: 0, Rule: 7, Action: rules.Pass, Reason: drop.Pass,
		Incarnation: 0x10001, FrameLen: len(frame), Bytes: frame[:61], Translated: true,
	}
	p.Parsed.Tuple = packet.Tuple{Proto: packet.TCP, Src: addr("203.0.113.10"), Dst: addr("203.0.113.2"), SrcPort: 40000, DstPort: 22}
	p.Parsed.TCPFlags, p.Parsed.Seq, p.Parsed.TTL, p.Parsed.L3, p.Parsed.End = packet.FlagSYN, 100, 64, 14, 74
	p.Sent = p.Parsed.Tuple
	p.Sent.Dst = addr("10.0.0.10")
	return p
}

var names = Names{Ports: []string{"lan", "wan"}, Rule: func(n uint32) (rules.Rule, bool) {
	if n != 7 {
		return rules.Rule{}, false
	}
	return rules.Rule{ID: "ssh", Pos: config.Position{File: "/etc/holdfast/policy.toml", Line: 12, Column: 1}}, true
}}

func textOf(p *dataplane.LoggedPacket, suppressed uint64) string {
	return comment(names.attributes(nil, p, suppressed))
}

// TestLog_Words: what is said of a packet, by protocol and by what became of it. The first is
// the line of docs/logging.md.
func TestLog_Words(t *testing.T) {
	blocked := sample()
	blocked.Action, blocked.Reason, blocked.Incarnation, blocked.Translated, blocked.Rule = rules.Block, drop.RuleBlock, 0, false, 9
	late := sample()
	late.Reason = drop.TCPBeyondWindow
	ping := sample()
	ping.In, ping.Out, ping.Translated = packet.Self, 1, false
	ping.Parsed.Tuple = packet.Tuple{Proto: packet.ICMPv6, Src: addr("2001:db8::1"), Dst: addr("2001:db8::2"), SrcPort: 77, DstPort: 128 << 8}
	ping.Parsed.ICMPType, ping.Parsed.Kind = 128, packet.KindIP
	gre := sample()
	gre.Parsed.Tuple = packet.Tuple{Proto: packet.GRE, Src: addr("192.0.2.1"), Dst: addr("192.0.2.2")}
	gre.Sent = gre.Parsed.Tuple
	for _, row := range []struct {
		p          *dataplane.LoggedPacket
		suppressed uint64
		want       string
	}{
		{sample(), 0, "rule=ssh at=/etc/holdfast/policy.toml:12:1 verdict=pass in=wan out=lan proto=tcp src=203.0.113.10 sport=40000 dst=203.0.113.2 dport=22 flags=S seq=100 len=60 ttl=64 nat=203.0.113.10:40000>10.0.0.10:22 conn=0000000000010001 dir=original"},
		{blocked, 1234, "rule=number-9 verdict=block reason=rule-block in=wan out=lan proto=tcp src=203.0.113.10 sport=40000 dst=203.0.113.2 dport=22 flags=S seq=100 len=60 ttl=64 suppressed=1234"},
		{late, 0, "rule=ssh at=/etc/holdfast/policy.toml:12:1 verdict=drop reason=tcp-beyond-window in=wan out=lan proto=tcp src=203.0.113.10 sport=40000 dst=203.0.113.2 dport=22 flags=S seq=100 len=60 ttl=64 nat=203.0.113.10:40000>10.0.0.10:22 conn=0000000000010001 dir=original"},
		{ping, 0, "rule=ssh at=/etc/holdfast/policy.toml:12:1 verdict=pass in=self out=wan proto=icmpv6 src=2001:db8::1 dst=2001:db8::2 type=128 code=0 icmp_id=77 len=60 ttl=64 conn=0000000000010001 dir=original"},
		{gre, 0, "rule=ssh at=/etc/holdfast/policy.toml:12:1 verdict=pass in=wan out=lan proto=gre src=192.0.2.1 dst=192.0.2.2 len=60 ttl=64 nat=192.0.2.1>192.0.2.2 conn=0000000000010001 dir=original"},
	} {
		if got := textOf(row.p, row.suppressed); got != row.want {
			t.Errorf("%s\nwant\n%s", got, row.want)
		}
	}
	if page := string(read(t, "../../docs/logging.md")); !strings.Contains(page, "msg=packet "+textOf(sample(), 0)) {
		t.Error("docs/logging.md shows another line")
	}
}

// FuzzLog_Words: whatever a packet holds, each is one line of printable words, and a packet
// of a file that can be read.
func FuzzLog_Words(f *testing.F) {
	f.Add(uint64(1), frame, uint32(7), uint8(0), uint8(0), uint8(0))
	f.Add(^uint64(0), []byte{}, ^uint32(0), uint8(255), uint8(255), uint8(255))
	f.Fuzz(func(t *testing.T, n uint64, data []byte, rule uint32, in, reason, dir uint8) {
		p := sample()
		p.Rule, p.In, p.Out, p.Reason, p.Action = rule, packet.PortID(in), packet.PortID(n), drop.Reason(reason), rules.Action(n>>8)
		if packet.Decode(data, &p.Parsed) != drop.Pass { // then the fields are not to be trusted at all
			p.Parsed.Tuple.Proto = packet.Proto(n >> 16)
			p.Parsed.TCPFlags, p.Parsed.TTL, p.Parsed.End = packet.TCPFlags(n), uint8(n), uint32(n)
			copy(p.Parsed.Tuple.Src[:], data)
			copy(p.Sent.Dst[:], data)
		}
		p.Direction, p.Bytes, p.FrameLen = 0, data, len(data)+int(dir)
		text := textOf(p, n)
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q", text)
		}
		all := blocksOf(t, appendPacket(nil, p, time.Unix(0, int64(n)), text))
		if len(all) != 1 || all[0].options[1] != text[:min(len(text), commentMax)] {
			t.Errorf("%q became %+v", text, all)
		}
	})
}

func newFile(t *testing.T, size int64, keep int) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log", "packets.pcapng")
	return NewFile(FileConfig{Path: path, Size: size, Keep: keep, SnapLen: 160, Ports: []string{"lan", "wan"}, Application: "holdfast test"}), path
}

// TestLog_File: the file is what the draft says, readable by root alone, and a packet in it
// has its port, time, lengths, direction and comment; tcpdump reads it too.
func TestLog_File(t *testing.T) {
	f, path := newFile(t, 1<<20, 3)
	out := sample()
	out.Port, out.Sense = 0, dataplane.LogOutbound
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	if err := errors.Join(f.Add(sample(), at, "rule=ssh verdict=pass"), f.Add(out, at, "rule=own"), f.Close()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	all := blocksOf(t, read(t, path))
	if len(all) != 5 || all[0].options[4] != "holdfast test" || all[1].options[2] != "lan" || all[2].options[2] != "wan" ||
		all[2].options[9] != "\x09" || all[3].options[1] != "rule=ssh verdict=pass" || all[4].options[1] != "rule=own" {
		t.Fatalf("%+v", all)
	}
	le, one := binary.LittleEndian, all[3]
	ns := uint64(le.Uint32(one.body[4:]))<<32 | uint64(le.Uint32(one.body[8:]))
	if le.Uint32(one.body) != 1 || ns != uint64(at.UnixNano()) || le.Uint32(one.body[12:]) != 61 || le.Uint32(one.body[16:]) != 200 ||
		!bytes.Equal(one.body[20:81], frame[:61]) || one.options[2] != "\x01\x00\x00\x00" || all[4].options[2] != "\x02\x00\x00\x00" {
		t.Errorf("%+v", one)
	}
	t.Run("tcpdump", func(t *testing.T) {
		program, err := exec.LookPath("tcpdump")
		if err != nil {
			t.Skip("no tcpdump")
		}
		got, err := exec.Command(program, "-n", "-e", "-tt", "-r", path).CombinedOutput()
		if err != nil || strings.Count(string(got), "length 200") != 2 || !strings.Contains(string(got), "1767323045.000000") {
			t.Errorf("%v\n%s", err, got)
		}
	})
}

// TestLog_Rotation: no file is larger than its size, so many stay, each is whole by itself,
// none is lost in between; a file from before is kept, and a link is not followed.
func TestLog_Rotation(t *testing.T) {
	f, path := newFile(t, 2000, 2)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("of yesterday"), 0o600), f.Open()); err != nil {
		t.Fatal(err)
	}
	if string(read(t, path+".1")) != "of yesterday" {
		t.Error("yesterday's is not kept")
	}
	for i := range 40 {
		if err := errors.Join(f.Add(sample(), time.Unix(int64(i), 0), fmt.Sprintf("packet %02d", i)), f.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var comments []string
	for _, name := range []string{path + ".2", path + ".1", path} {
		data := read(t, name)
		if len(data) > 2000 {
			t.Errorf("%s has %d bytes", name, len(data))
		}
		for _, b := range blocksOf(t, data) {
			if b.kind == 6 {
				comments = append(comments, b.options[1])
			}
		}
	}
	if n := len(comments); n < 20 || comments[0] != fmt.Sprintf("packet %02d", 40-n) || comments[n-1] != "packet 39" || f.stored != 40 {
		t.Errorf("%d are there, %d stored: %v", n, f.stored, comments)
	}
	if _, err := os.Stat(path + ".3"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file too many: %v", err)
	}
	if err := os.Symlink("/nowhere/at/all", path+".link"); err != nil {
		t.Fatal(err)
	}
	if _, err := create(path + ".link"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a link is followed: %v", err)
	}
}

// full is a disk with room for so many more bytes.
type full struct {
	*os.File
	room *int
}

func (d full) Write(b []byte) (int, error) {
	n, _ := d.File.Write(b[:min(len(b), *d.room)])
	*d.room -= n
	if n < len(b) {
		return n, unix.ENOSPC
	}
	return n, nil
}

// TestLog_DiskFull: what does not fit is counted, told once, and leaves no torn block; when
// there is room again, the file goes on.
func TestLog_DiskFull(t *testing.T) {
	f, path := newFile(t, 1<<20, 3)
	room := 1000
	f.open = func(path string) (sink, error) {
		s, err := create(path)
		if err != nil {
			return nil, err
		}
		return full{s.(*os.File), &room}, nil
	}
	told := 0
	put := func(n int) {
		for range n {
			if err := errors.Join(f.Add(sample(), time.Unix(1, 0), "c"), f.Flush()); err != nil {
				if told++; !errors.Is(err, unix.ENOSPC) {
					t.Error(err)
				}
			}
		}
	}
	put(20)
	stored := f.stored
	if told != 1 || stored == 0 || f.lost != 20-stored {
		t.Errorf("%d stored, %d lost, told %d times", stored, f.lost, told)
	}
	if n := len(blocksOf(t, read(t, path))); n != int(stored)+3 {
		t.Errorf("%d blocks", n)
	}
	room = 1000
	put(1)
	room = 0
	put(2)
	if f.stored != stored+1 || told != 2 {
		t.Errorf("%d stored, told %d times", f.stored, told)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if n := len(blocksOf(t, read(t, path))); n != int(f.stored)+3 {
		t.Errorf("%d blocks", n)
	}
}

// TestLog_NoFolder: a folder that cannot be made is told and counted like a full disk.
func TestLog_NoFolder(t *testing.T) {
	f, _ := newFile(t, 1<<20, 3)
	f.config.Path = "/dev/null/packets.pcapng"
	err := errors.Join(f.Add(sample(), time.Unix(1, 0), "c"), f.Flush())
	again := errors.Join(f.Add(sample(), time.Unix(1, 0), "c"), f.Flush())
	if err == nil || !strings.Contains(err.Error(), "/dev/null") || again != nil || f.lost != 2 {
		t.Errorf("%v, then %v; %d lost", err, again, f.lost)
	}
}

// TestLog_Rates: each rule has its rate and all together another; what is too much is counted
// by rule, and the next line says how many.
func TestLog_Rates(t *testing.T) {
	packets, err := dataplane.NewPacketLog(1, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	var lines bytes.Buffer
	l := New(Config{Packets: packets, Names: names, Lines: slog.New(slog.NewTextHandler(&lines, nil)),
		Rate: Rate{15, time.Second}, RuleRate: Rate{10, time.Second}})
	ask := func(rule uint32, clock int64) bool {
		p := sample()
		p.Rule = rule
		suppressed, may := l.admit(p, clock)
		if may {
			l.tell(p, time.Unix(0, clock), suppressed)
		}
		return may
	}
	count := func(rule uint32, n int, clock int64) (may int) {
		for range n {
			if ask(rule, clock) {
				may++
			}
		}
		return may
	}
	const s = int64(time.Second)
	for _, row := range []struct {
		rule  uint32
		n     int
		clock int64
		want  int
	}{
		{7, 100, 10 * s, 10},                        // a rule's burst
		{9, 100, 10 * s, 5},                         // what the node's rate leaves for another
		{7, 1, 10*s + s/10 - 1, 0},                  // not yet
		{7, 2, 10*s + s/10, 1},                      // a tenth of a second later one more
		{9, 100, 1000 * s, 10}, {7, 9, 1000 * s, 5}, // all full again
	} {
		if got := count(row.rule, row.n, row.clock); got != row.want {
			t.Errorf("rule %d, %d at %d: %d", row.rule, row.n, row.clock, got)
		}
	}
	c := l.Counts()
	if c.Logged != 31 || c.Suppressed != 281 || c.Rules[7] != (RuleCounts{16, 96}) || c.Rules[9] != (RuleCounts{15, 185}) {
		t.Errorf("%+v", c)
	}
	if text := lines.String(); strings.Count(text, "\n") != 31 || !strings.Contains(text, "suppressed=91\n") || !strings.Contains(text, "suppressed=95\n") {
		t.Error(text)
	}
}
