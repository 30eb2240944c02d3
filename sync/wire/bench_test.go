package wire

import (
	"testing"

	"holdfast/conntrack"
)

func BenchmarkAppendInsert(b *testing.B) {
	s, buf := established(begun()), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		AppendInsert(buf, &s)
	}
}

func BenchmarkDecodeInsert(b *testing.B) {
	s := established(begun())
	f := only(b, AppendInsert(nil, &s))
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeInsert(f, &s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendUpdate(b *testing.B) {
	s, buf := established(begun()), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		AppendUpdate(buf, &s)
	}
}

func BenchmarkDecodeUpdate(b *testing.B) {
	s := established(begun())
	f := only(b, AppendUpdate(nil, &s))
	var u Update
	var to conntrack.Update
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeUpdate(f, &u); err != nil || !u.Onto(&s, &to) {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendDelete(b *testing.B) {
	d, buf := Delete{Index: 1, Incarnation: 2, Why: conntrack.EndExpired}, make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		AppendDelete(buf, &d)
	}
}

// BenchmarkBatch decodes a full batch of new connections; ns/op is per connection.
func BenchmarkBatch(b *testing.B) {
	s := begun()
	batch := AppendStreamHeader(nil, 1, 1)
	for len(batch)+InsertMax <= 1400 {
		batch = AppendInsert(batch, &s)
	}
	for n := 0; n < b.N; {
		_, rest, err := DecodeHeader(batch)
		if err != nil {
			b.Fatal(err)
		}
		var f Frame
		for frames := (Frames{Rest: rest}); frames.Next(&f); n++ {
			if err := DecodeInsert(&f, &s); err != nil {
				b.Fatal(err)
			}
		}
	}
}
