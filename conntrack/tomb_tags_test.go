package conntrack

import (
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// The tags find what a search through all that a shard remembers finds, also where the tags of
// several are alike and where the oldest were overwritten.
func TestTombsByTagsAreTombsBySearch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := newTable(t, Config{Capacity: 10})
		hash := rapid.Custom(func(rt *rapid.T) uint64 { // one shard, three tags, some alike
			return rapid.Uint64Range(0, 2).Draw(rt, "tag")<<tagShift | rapid.Uint64Range(0, 20).Draw(rt, "low")
		})
		var all []tomb
		for range rapid.IntRange(0, 3*tombsPerShard).Draw(rt, "ends") {
			one := tomb{hash.Draw(rt, "hash"), Incarnation(rapid.Uint64Range(1, 9).Draw(rt, "life"))}
			table.entombLocked(0, one.hash, one.upTo)
			all = append(all, one)
		}
		asked, want := hash.Draw(rt, "asked"), Incarnation(0)
		for _, one := range all[max(0, len(all)-tombsPerShard):] {
			if one.hash == asked {
				want = max(want, one.upTo)
			}
		}
		if got := table.entombedLocked(0, asked); got != want {
			rt.Fatalf("over up to %d, want %d", got, want)
		}
	})
}

// What says that nothing is there lies in one cache line.
func TestTagsOfTombsAreInOneLine(t *testing.T) {
	if size := unsafe.Sizeof(tombs{}); size%64 != 0 || unsafe.Offsetof(tombs{}.last) != 64 {
		t.Errorf("%d bytes, ends from byte %d", size, unsafe.Offsetof(tombs{}.last))
	}
}

// BenchmarkEntombed is a transfer's question to shards that remember all they can.
func BenchmarkEntombed(b *testing.B) {
	table, err := New(Config{Capacity: 10})
	if err != nil {
		b.Fatal(err)
	}
	for i := range uint64(shardsCount * tombsPerShard) {
		hash := i * 0x9e3779b97f4a7c15
		table.entombLocked(uint32(i%shardsCount), hash, 1)
	}
	var home uint32
	var found Incarnation
	for b.Loop() {
		home = home*1664525 + 1013904223
		found += table.entombedLocked(home>>21, uint64(home)*0x9e3779b97f4a7c15|1<<63)
	}
	if err := table.Close(); err != nil || found > 1e6 {
		b.Fatal(err, found)
	}
}
