package wire

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/conntrack"
)

// seed gives f the samples whose names begin with prefix, as flags and body.
func seed(f *testing.F, prefix string) {
	f.Add(uint8(0), []byte{})
	for name, b := range encodings() {
		if strings.HasPrefix(name, prefix) {
			f.Add(b[1], b[FrameHeaderSize:])
		}
	}
}

// fuzz checks of one message: what decodes is appended to what decodes to the same.
func fuzz(f *testing.F, t Type, sample string) {
	seed(f, sample)
	empty := messages[sample].empty
	f.Fuzz(func(tt *testing.T, flags uint8, body []byte) {
		first, second := empty(), empty()
		if first.Decode(&Frame{Type: t, Flags: flags, Body: body}) != nil {
			return
		}
		if err := second.Decode(only(tt, first.Append(nil))); err != nil {
			tt.Fatalf("appended what does not decode: %v", err)
		}
		if diff := cmp.Diff(first, second, unexported); diff != "" {
			tt.Fatal(diff)
		}
	})
}

func FuzzHello(f *testing.F)         { fuzz(f, TypeHello, "hello") }
func FuzzHeartbeat(f *testing.F)     { fuzz(f, TypeHeartbeat, "heartbeat") }
func FuzzAnnounce(f *testing.F)      { fuzz(f, TypeAnnounce, "announce") }
func FuzzGoodbye(f *testing.F)       { fuzz(f, TypeGoodbye, "goodbye") }
func FuzzAck(f *testing.F)           { fuzz(f, TypeAck, "ack") }
func FuzzAckRequest(f *testing.F)    { fuzz(f, TypeAckRequest, "ack-request") }
func FuzzNack(f *testing.F)          { fuzz(f, TypeNack, "nack") }
func FuzzLost(f *testing.F)          { fuzz(f, TypeLost, "lost") }
func FuzzUpdateRequest(f *testing.F) { fuzz(f, TypeUpdateRequest, "update-request") }
func FuzzEnded(f *testing.F)         { fuzz(f, TypeEnded, "ended") }
func FuzzNeighbor(f *testing.F)      { fuzz(f, TypeNeighbor, "neighbor4") }
func FuzzKill(f *testing.F)          { fuzz(f, TypeKill, "kill") }
func FuzzKilled(f *testing.F)        { fuzz(f, TypeKilled, "killed") }
func FuzzStanding(f *testing.F)      { fuzz(f, TypeStanding, "standing") }
func FuzzOrder(f *testing.F)         { fuzz(f, TypeOrder, "order") }
func FuzzAnswer(f *testing.F)        { fuzz(f, TypeAnswer, "answer") }
func FuzzFetch(f *testing.F)         { fuzz(f, TypeFetch, "fetch") }
func FuzzChunk(f *testing.F)         { fuzz(f, TypeChunk, "chunk") }

func FuzzDigest(f *testing.F) { fuzz(f, TypeDigest, "digest") }
func FuzzProof(f *testing.F)  { fuzz(f, TypeProof, "proof") }
func FuzzTransferRequest(f *testing.F) {
	fuzz(f, TypeTransferRequest, "transfer-request")
}
func FuzzVoteRequest(f *testing.F) { fuzz(f, TypeVoteRequest, "vote-request") }
func FuzzVote(f *testing.F)        { fuzz(f, TypeVote, "vote") }
func FuzzPath(f *testing.F)        { fuzz(f, TypePath, "path") }
func FuzzTransferEnd(f *testing.F) { fuzz(f, TypeTransferEnd, "transfer-end") }

func FuzzPoison(f *testing.F)       { fuzz(f, TypePoison, "poison") }
func FuzzTableChange(f *testing.F)  { fuzz(f, TypeTableChange, "table-put") }
func FuzzTableSums(f *testing.F)    { fuzz(f, TypeTableSums, "table-sums") }
func FuzzTableRequest(f *testing.F) { fuzz(f, TypeTableRequest, "table-request") }

func FuzzInsert(f *testing.F) {
	seed(f, "insert ")
	f.Fuzz(func(t *testing.T, flags uint8, body []byte) {
		var first, second conntrack.State
		if DecodeInsert(&Frame{Type: TypeInsert, Flags: flags, Body: body}, &first) != nil {
			return
		}
		b := AppendInsert(nil, &first)
		if len(b) > InsertMax {
			t.Fatalf("an insert of %d bytes", len(b))
		}
		if err := DecodeInsert(only(t, b), &second); err != nil || first != second {
			t.Fatalf("%v\nfirst  %+v\nsecond %+v", err, first, second)
		}
	})
}

func FuzzUpdate(f *testing.F) {
	seed(f, "update ")
	f.Fuzz(func(t *testing.T, flags uint8, body []byte) {
		var first, second Update
		if DecodeUpdate(&Frame{Type: TypeUpdate, Flags: flags, Body: body}, &first) != nil {
			return
		}
		// Over any state it gives one that is appended as the same update. Far from zero
		// no position becomes "not known".
		s := established(begun())
		switch first.form {
		case formPlain:
			s = udp()
		case formSCTP:
			s = sctp()
		}
		s.Dir[0].End, s.Dir[1].End = 1<<50, 1<<51
		s.Incarnation = conntrack.Incarnation(first.Incarnation)
		var to conntrack.Update
		if !first.Onto(&s, &to) {
			t.Fatal("not about its own connection")
		}
		s.Index, s.Flags, s.Dir = first.Index, to.Flags, to.Dir
		if err := DecodeUpdate(only(t, AppendUpdate(nil, &s)), &second); err != nil || first != second {
			t.Fatalf("%v\nfirst  %+v\nsecond %+v", err, first, second)
		}
		// Near zero nothing goes below it.
		s.Dir[0].End, s.Dir[1].End = 1<<32, 0
		if first.Onto(&s, &to); int64(to.Dir[0].End|to.Dir[1].End|to.Dir[0].MaxAck|to.Dir[1].MaxAck) < 0 {
			t.Fatalf("a position below zero: %+v", to.Dir)
		}
	})
}

func FuzzDelete(f *testing.F) {
	seed(f, "delete")
	f.Fuzz(func(t *testing.T, flags uint8, body []byte) {
		var first, second Delete
		if DecodeDelete(&Frame{Type: TypeDelete, Flags: flags, Body: body}, &first) != nil {
			return
		}
		if err := DecodeDelete(only(t, AppendDelete(nil, &first)), &second); err != nil || first != second {
			t.Fatalf("%v %+v %+v", err, first, second)
		}
	})
}

// FuzzBatch reads a whole batch as a receiver does. The frames must tile the batch.
func FuzzBatch(f *testing.F) {
	b := AppendStreamHeader(nil, 3, 77)
	for _, s := range states {
		b = AppendUpdate(AppendInsert(b, &s), &s)
	}
	f.Add(b)
	f.Add(AppendControlHeader(nil))
	control := AppendControlHeader(nil)
	for _, m := range messages {
		control = m.sample.Append(control)
	}
	f.Add(control)
	f.Add(append(AppendControlHeader(nil), 99, 0, 0, 1, 'x', 99, 0, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, batch []byte) {
		h, rest, err := DecodeHeader(batch)
		if err != nil {
			return
		}
		if h.Kind == Stream && (h.Sequence == 0 || h.Lane >= LanesMax) {
			t.Fatalf("%+v", h)
		}
		var fr Frame
		used := 0
		frames := Frames{Rest: rest}
		for frames.Next(&fr) {
			used += FrameHeaderSize + len(fr.Body)
			_ = decode(&fr)
		}
		if frames.Err() == nil && used != len(rest) || used > len(rest) {
			t.Fatalf("%d of %d bytes used: %v", used, len(rest), frames.Err())
		}
	})
}
