package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"
)

// fates are the first fates that a direction draws.
func fates(how Impairment, stream uint64, count int) (all []fate) {
	d := newDirection(nil, nil, netip.AddrPort{}, netip.AddrPort{}, how, stream)
	for range count {
		all = append(all, d.draw())
	}
	return all
}

// What an impaired link does follows from its seed; it loses, duplicates and delays as much
// as it was told to.
func TestImpairmentFollowsFromItsSeed(t *testing.T) {
	const count = 100_000
	how := Impairment{Loss: 0.05, Duplicate: 0.02, DelayMin: time.Millisecond, DelayMax: 20 * time.Millisecond, Seed: 7}
	first, again := fates(how, 0, count), fates(how, 0, count)
	how.Seed++
	other := fates(how, 0, count)
	var lost, duplicated, differ int
	least, most := time.Hour, time.Duration(0)
	for i, f := range first {
		if f != again[i] {
			t.Fatalf("fate %d is %+v and then %+v", i, f, again[i])
		}
		if f != other[i] {
			differ++
		}
		if f.lost {
			lost++
		}
		if f.duplicated {
			duplicated++
		}
		least, most = min(least, f.delay[0], f.delay[1]), max(most, f.delay[0], f.delay[1])
	}
	if differ < count/2 {
		t.Errorf("another seed changes %d of %d fates", differ, count)
	}
	if lost < 4500 || lost > 5500 || duplicated < 1600 || duplicated > 2200 {
		t.Errorf("%d lost and %d duplicated of %d", lost, duplicated, count)
	}
	if least < how.DelayMin || most > how.DelayMax || most-least < 18*time.Millisecond {
		t.Errorf("delays from %v to %v", least, most)
	}
}

// impaired makes two hosts with an impaired link between them, and a socket on each.
func impaired(t *testing.T, how Impairment) (link *Impaired, near, far net.PacketConn, way net.Addr) {
	t.Helper()
	l := ForTest(t)
	left, right := pair(t, l)
	var at [4]netip.AddrPort
	for i, text := range []string{"127.0.0.1:7001", "127.0.0.2:7001", "127.0.0.1:7001", "127.0.0.2:7001"} {
		at[i] = netip.MustParseAddrPort(text)
	}
	for _, n := range []*Namespace{left, right} {
		if err := n.Up("lo"); err != nil {
			t.Fatal(err)
		}
	}
	near, far = must(left.ListenPacket("udp", at[0].String()))(t), must(right.ListenPacket("udp", at[3].String()))(t)
	link, err := Impair(left, at[1], at[0], right, at[2], at[3], how)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range []interface{ Close() error }{link, near, far} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return link, near, far, net.UDPAddrFromAddrPort(at[1])
}

// Every datagram is accounted for, by its class, and what arrives is what the seed says.
func TestImpairedLinkCountsExactly(t *testing.T) {
	const count = 2000
	how := Impairment{
		Loss: 0.2, Duplicate: 0.1, DelayMin: time.Millisecond, DelayMax: 5 * time.Millisecond, Seed: 3,
		Class: func(d []byte) int { return int(d[3] & 1) },
	}
	link, near, far, way := impaired(t, how)
	want := make([]int, count)
	total := 0
	var lost [2]uint64
	for i, f := range fates(how, 0, count) {
		switch {
		case f.lost:
			lost[i&1]++
		case f.duplicated:
			want[i] = 2
		default:
			want[i] = 1
		}
		total += want[i]
	}
	got := make([]int, count)
	reordered, last := 0, -1
	buf := make([]byte, 100)
	if err := far.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for from := 0; from < count; from += 100 { // as many as any socket holds
		due := 0
		for i := from; i < from+100; i++ {
			if _, err := near.WriteTo(binary.BigEndian.AppendUint32(nil, uint32(i)), way); err != nil {
				t.Fatal(err)
			}
			due += want[i]
		}
		for range due {
			n, _, err := far.ReadFrom(buf)
			if err != nil || n != 4 {
				t.Fatalf("%d bytes, %v", n, err)
			}
			i := int(binary.BigEndian.Uint32(buf))
			if got[i]++; i < last {
				reordered++
			}
			last = i
		}
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("datagram %d arrived %d times, want %d", i, got[i], want[i])
		}
	}
	if reordered < count/10 {
		t.Errorf("%d were reordered", reordered)
	}
	eventually(t, "nothing is under way", func() bool { return link.Crossing(0).UnderWay == 0 })
	c := link.Crossing(0)
	sum := func(of [Classes]uint64) (n uint64) {
		for _, v := range of {
			n += v
		}
		return n
	}
	if c.Lost[0] != lost[0] || c.Lost[1] != lost[1] || sum(c.Came) != count || sum(c.Forwarded) != uint64(total) {
		t.Errorf("counts %+v, want %v lost", c, lost)
	}
	if sum(c.Came)-sum(c.Lost)+sum(c.Duplicated) != sum(c.Forwarded) || c.Shed+c.Refused != 0 {
		t.Errorf("counts do not add up: %+v", c)
	}
	if back := link.Crossing(1); sum(back.Came) != 0 {
		t.Errorf("nothing was sent back: %+v", back)
	}
}

// A link holds a bounded number of datagrams.
func TestImpairedLinkIsBounded(t *testing.T) {
	var f flights
	now := time.Now()
	for i := range impairHeld {
		if _, ok := f.add([]byte{1}, 0, now.Add(time.Duration(i))); !ok {
			t.Fatalf("no room for flight %d", i)
		}
	}
	if _, ok := f.add([]byte{1}, 0, now); ok {
		t.Error("one more than the bound is held")
	}
	if _, _, wait := f.next(now, nil); wait > 0 {
		t.Error("the first is due and does not come")
	}
	if soonest, ok := f.add([]byte{2}, 0, now); !ok || !soonest {
		t.Errorf("soonest %v, taken %v: there is room again", soonest, ok)
	}
	if body, _, wait := f.next(now, nil); wait > 0 || body[0] != 2 {
		t.Error("the soonest did not come first")
	}
}
