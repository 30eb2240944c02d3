package saved

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/sync/wire"
)

var header = Header{Boot: Boot{1, 2, 3}, Boottime: 1_000e9, Wall: 1_790_000_000e9, Policy: 0xabc, Meaning: 0xdef}

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

// udp and tcp are connection i of a client behind a translation, as a table exports it.
func udp(i int) conntrack.State {
	s := conntrack.State{
		Incarnation: conntrack.Incarnation(i+1)<<16 | 1, Class: conntrack.Class{Rule: 7, Egress: 1}, Flags: conntrack.SourceNAT,
		Original: packet.Tuple{Src: addr("10.0.0.5"), Dst: addr("198.51.100.9"), SrcPort: uint16(10000 + i), DstPort: 53, Proto: packet.UDP},
	}
	s.Reply = s.Original.Reply()
	s.Reply.Dst = addr("203.0.113.1")
	return s
}

func tcp(i int) conntrack.State {
	s := udp(i)
	s.Original.Proto, s.Reply.Proto = packet.TCP, packet.TCP
	s.Flags |= conntrack.Replied | conntrack.Assured
	const seen = conntrack.SeenSYN | conntrack.SeenSYNAcked
	s.Dir[0] = conntrack.DirState{Seen: seen, MaxWin: 1 << 16, End: 1<<32 | 5<<20, MaxAck: 1<<32 | 7<<20}
	s.Dir[1] = conntrack.DirState{Seen: seen, MaxWin: 1 << 16, End: 1<<32 | 9<<20, MaxAck: 1<<32 | 4<<20}
	for d := range s.Dir {
		s.Dir[d].MaxEnd = max(s.Dir[d].End, s.Dir[d^1].MaxAck+1<<16)
	}
	return s
}

func newTable(t testing.TB, states ...conntrack.State) *conntrack.Table {
	t.Helper()
	table, err := conntrack.New(conntrack.Config{Capacity: 4096, Node: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	var a conntrack.Applied
	for i := range states {
		if got := table.Apply(&states[i], header.Boottime, &a); got != conntrack.AppliedNew {
			t.Fatalf("state %d: %v", i, got)
		}
	}
	return table
}

func many() (all []conntrack.State) {
	for i := range 500 {
		all = append(all, tcp(2*i), udp(2*i+1))
	}
	return all
}

// written is a file as it lies on disk.
func written(t testing.TB, states ...conntrack.State) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := encode(&b, &header, newTable(t, states...)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestF7_ThereAndBack: what was written is read, once, with nothing left in the folder.
func TestF7_ThereAndBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	states := many()
	table := newTable(t, states...)
	for _, left := range []string{path, path + ".new"} { // of a life before, readable by all
		if err := os.WriteFile(left, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n, err := Write(path, &header, table)
	if err != nil || n != len(states) {
		t.Fatalf("%d written: %v", n, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Header != header || f.Count != uint64(n) {
		t.Errorf("header %+v, %d states", f.Header, f.Count)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left: %v", left, err)
	}
	want := map[packet.Tuple]conntrack.State{}
	var s conntrack.State
	for i := range table.High() {
		if table.Export(i, header.Boottime, &s) {
			want[s.Original] = s
		}
	}
	for range 2 { // it can be read again while it is open
		got := 0
		if err := f.Each(func(s *conntrack.State) {
			if got++; want[s.Original] != *s {
				t.Errorf("got  %+v\nwant %+v", *s, want[s.Original])
			}
		}); err != nil || got != n {
			t.Errorf("%d of %d: %v", got, n, err)
		}
	}
	if again, err := Open(path); again != nil || err != nil {
		t.Errorf("a second time: %v, %v", again, err)
	}
}

// TestF7_RefusedWhole: a file that is not as it was written is refused, says why, and is gone.
func TestF7_RefusedWhole(t *testing.T) {
	good := written(t, many()[:20]...)
	again := func(b []byte) []byte { // with the right checksum
		return binary.BigEndian.AppendUint64(b[:len(b)-8:len(b)-8], xxhash.Sum64(b[:len(b)-8]))
	}
	edit := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	for _, row := range []struct {
		name string
		file []byte
		want error
	}{
		{"empty", nil, ErrTorn},
		{"a header alone", good[:headerSize], ErrTorn},
		{"another's", edit(0, 'x'), ErrForeign},
		{"another version, right otherwise", again(edit(11, 2)), ErrForeign},
		{"a bit of the header that means nothing", again(edit(15, 1)), ErrForeign},
		{"a byte of the time", edit(39, good[39]^1), ErrTorn},
		{"a byte of a state", edit(headerSize+20, good[headerSize+20]^1), ErrTorn},
		{"a byte of the checksum", edit(len(good)-1, good[len(good)-1]^1), ErrTorn},
		{"cut by one", good[:len(good)-1], ErrTorn},
		{"cut in the middle", good[:len(good)/2], ErrTorn},
		{"one byte more", append(bytes.Clone(good), 0), ErrTorn},
		{"another count, right otherwise", again(edit(len(good)-9, 19)), ErrTorn},
		{"a frame longer than the file, right otherwise", again(edit(headerSize+2, 0xff, 0xff)), ErrTorn},
		{"twice itself", append(bytes.Clone(good), good...), ErrTorn},
	} {
		path := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(path, row.file, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if f != nil || !errors.Is(err, row.want) {
			t.Errorf("%s: %v, %v", row.name, f, err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the file is still there", row.name)
		}
	}
	for at := range good { // every byte counts
		if _, _, err := check(bytes.NewReader(edit(at, good[at]^0x10)), int64(len(good))); err == nil {
			t.Fatalf("byte %d changed: accepted", at)
		}
	}
}

// TestF7_NotAFile: what is no file is refused and stays.
func TestF7_NotAFile(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, link} {
		if f, err := Open(path); f != nil || err == nil {
			t.Errorf("%s: %v, %v", path, f, err)
		}
	}
}

// TestF7_NotWritten: where a file cannot be written the old one stays, and nothing else.
func TestF7_NotWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "state")
	if _, err := Write(path, &header, newTable(t)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestF7_Age: by the boot's clock, or the wall's after a reboot, and never backwards.
func TestF7_Age(t *testing.T) {
	for _, row := range []struct {
		name string
		now  Header
		want time.Duration
	}{
		{"same boot", Header{Boot: header.Boot, Boottime: header.Boottime + 5e9, Wall: 0}, 5 * time.Second},
		{"same boot, and its clock went backwards", Header{Boot: header.Boot, Boottime: 1, Wall: header.Wall + 9e9}, 0},
		{"rebooted", Header{Boot: Boot{9}, Boottime: 1, Wall: header.Wall + 90e9}, 90 * time.Second},
		{"rebooted, and the wall's clock was set back", Header{Boot: Boot{9}, Boottime: 1, Wall: 5}, 0},
	} {
		if got := header.Age(&row.now); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
	var unknown, now Header
	now.Wall = 7e9
	if got := unknown.Age(&now); got != 7*time.Second {
		t.Errorf("boots that are not known are not the same: %v", got)
	}
}

// FuzzFile: whatever stands in the file, reading it neither panics nor takes more states than
// it says; and what is accepted decodes to states that the table judges for itself.
func FuzzFile(f *testing.F) {
	good := written(f, tcp(1), udp(2))
	f.Add(good, false)
	f.Add(good[:len(good)-3], true)
	f.Add(good[:headerSize], true)
	f.Add(wire.AppendDelete(bytes.Clone(good[:headerSize]), &wire.Delete{Index: 1, Incarnation: 1, Why: conntrack.EndExpired}), true)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend && len(b) >= headerSize { // count and checksum as they should be
			n, _ := frames(bufio.NewReader(bytes.NewReader(b[headerSize:])), int64(len(b)-headerSize), func(*wire.Frame) error { return nil })
			b = binary.BigEndian.AppendUint64(bytes.Clone(b), n)
			b = binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
		}
		_, count, err := check(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		table := newTable(t)
		var a conntrack.Applied
		states := uint64(0)
		body := b[headerSize : len(b)-trailerSize]
		_ = decode(bytes.NewReader(body), int64(len(body)), func(s *conntrack.State) {
			states++
			table.Apply(s, header.Boottime, &a)
		})
		if states > count {
			t.Errorf("%d states of %d", states, count)
		}
	})
}
