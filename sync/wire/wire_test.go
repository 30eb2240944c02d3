package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/conntrack"
)

var update = flag.Bool("update", false, "write testdata/vectors.txt anew")

// only returns the one frame of which b consists.
func only(t testing.TB, b []byte) *Frame {
	t.Helper()
	var f, second Frame
	frames := Frames{Rest: b}
	if !frames.Next(&f) || frames.Next(&second) || frames.Err() != nil {
		t.Fatalf("%x is not one frame: %v", b, frames.Err())
	}
	return &f
}

var unexported = cmp.Options{cmp.AllowUnexported(Lanes{}, MTUs{}), cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })}

func TestInsertRoundTrip(t *testing.T) {
	for name, want := range states {
		var got conntrack.State
		if err := DecodeInsert(only(t, AppendInsert(nil, &want)), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got != want {
			t.Errorf("%s: got %+v\nwant %+v", name, got, want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		want := randomState(rng)
		var got conntrack.State
		if err := DecodeInsert(only(t, AppendInsert(nil, &want)), &got); err != nil || got != want {
			t.Fatalf("%v\ngot %+v\nwant %+v", err, got, want)
		}
	}
}

// An Update laid over an older state of the connection gives the sender's state.
func TestUpdateRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 20000 {
		want := randomState(rng)
		got := want
		for d := range got.Dir {
			got.Dir[d] = conntrack.DirState{}
			if rng.IntN(4) > 0 { // known, and up to 32 GiB off
				got.Dir[d].End = max(1<<32, want.Dir[d].End+rng.Uint64N(1<<endBits)-1<<(endBits-1))
			} else {
				want.Dir[d].End &= 1<<endBits - 1 // begun in the receiver's view
			}
		}
		for d := range want.Dir { // begun ones have moved
			back := uint64(1 << 28)
			if want.Dir[d^1].End%back != 0 {
				back = 1 << 18
			}
			want.Dir[d].MaxAck = max(want.Dir[d^1].End, back) - back
		}
		complete(&want.Dir)
		var u Update
		var to conntrack.Update
		if err := DecodeUpdate(only(t, AppendUpdate(nil, &want)), &u); err != nil {
			t.Fatal(err)
		}
		if !u.Onto(&got, &to) || to.Dir != want.Dir || to.Flags != want.Flags || to.Idle != 0 || u.Index != want.Index {
			t.Fatalf("%d: got %+v\nwant %+v", i, to, want)
		}
	}
}

func TestUpdateOfAnotherLife(t *testing.T) {
	s := established(begun())
	var u Update
	if err := DecodeUpdate(only(t, AppendUpdate(nil, &s)), &u); err != nil {
		t.Fatal(err)
	}
	other := s
	other.Incarnation++
	var to conntrack.Update
	if u.Onto(&other, &to) {
		t.Error("an update of another life was used")
	}
	plain := udp()
	if u.Onto(&plain, &to) {
		t.Error("a TCP update was used for UDP")
	}
}

func TestUpdatesOfAConnectionHaveOneLength(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		s := randomState(rng)
		if n := len(AppendUpdate(nil, &s)); n != UpdateMax {
			t.Fatalf("%d bytes", n)
		}
	}
}

// MaxAck is exact near End and on the grid, and never ahead of what it was.
func TestMaxAck(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	check := func(ack, end uint64) {
		t.Helper()
		got := ackPosition(ackField(ack, end), end)
		exact := end-ack < 512<<10 || ack&(1<<ackCell-1) == 0
		if got > ack || ack-got >= 1<<ackCell || exact && got != ack {
			t.Fatalf("%#x behind %#x became %#x", ack, end, got)
		}
	}
	for range 20000 {
		end := 1<<33 + rng.Uint64N(1<<50)
		ack := end - rng.Uint64N(1<<rng.IntN(32))
		check(ack, end)
		check(ack>>20<<20, end)
		check(end-512<<10, end)
		check(end-512<<10+1, end)
		check(end-1<<31+1, end)
	}
	// What no connection has does no harm.
	if got := ackPosition(ackField(9, 5), 5); got != 5 {
		t.Errorf("an acknowledgement of the future became %d", got)
	}
	if got := ackPosition(ackField(0, 1<<40), 1<<40); got != 1<<40-1<<31 {
		t.Errorf("an old acknowledgement became %#x", got)
	}
	if got := ackPosition(ackCoarse|ackMax, 5); got != 0 {
		t.Errorf("below zero became %#x", got)
	}
}

func TestDeleteRoundTrip(t *testing.T) {
	want := Delete{Index: 7, Incarnation: 0x07770001, Why: conntrack.EndExpired}
	var got Delete
	if err := DecodeDelete(only(t, AppendDelete(nil, &want)), &got); err != nil || got != want {
		t.Errorf("%+v %v", got, err)
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	for name, m := range messages {
		got := m.empty()
		if err := got.Decode(only(t, m.sample.Append(nil))); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(m.sample, got, unexported); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// encodings are the samples of all messages, as bytes.
func encodings() map[string][]byte {
	all := map[string][]byte{}
	for name, s := range states {
		all["insert "+name] = AppendInsert(nil, &s)
		all["update "+name] = AppendUpdate(nil, &s)
	}
	all["delete"] = AppendDelete(nil, &Delete{Index: 7, Incarnation: 0x07770001, Why: conntrack.EndExpired})
	for name, m := range messages {
		all[name] = m.sample.Append(nil)
	}
	return all
}

// decode decodes f as what its type says.
func decode(f *Frame) error {
	var s conntrack.State
	switch f.Type {
	case TypeInsert:
		return DecodeInsert(f, &s)
	case TypeUpdate:
		return DecodeUpdate(f, new(Update))
	case TypeDelete:
		return DecodeDelete(f, new(Delete))
	}
	for _, m := range messages {
		if m.sample.Append(nil)[0] == byte(f.Type) {
			return m.empty().Decode(f)
		}
	}
	return nil
}

// The bytes of every sample stay what they are: a change breaks running clusters.
func TestGoldenVectors(t *testing.T) {
	const path = "testdata/vectors.txt"
	var b bytes.Buffer
	b.WriteString("# One frame per line; made by `go test -update`. A changed line is a changed language.\n")
	all := encodings()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%-30s %x\n", name, all[name])
	}
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
	// And the other half: old bytes still decode.
	lines := bufio.NewScanner(bytes.NewReader(want))
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		raw, err := hex.DecodeString(strings.TrimSpace(lines.Text()[30:]))
		if err != nil {
			t.Fatal(err)
		}
		if err := decode(only(t, raw)); err != nil {
			t.Errorf("%s: %v", lines.Text()[:30], err)
		}
	}
}

// openEnded are the types whose last field goes on to the end of the frame.
var openEnded = map[Type]bool{TypeKill: true, TypeAnswer: true, TypeChunk: true}

// listed reports whether a list that a message ends with may end after n bytes too.
func listed(f *Frame, n int) bool {
	return f.Type == TypeDigest && n%8 == 1 && n > 32 || f.Type == TypeTransferRequest && n%2 == 0 && n >= 6
}

// Every message is refused when it is cut or goes on, and when its type is another's.
func TestLengthsAreStrict(t *testing.T) {
	for name, b := range encodings() {
		f := *only(t, b)
		body := f.Body
		for n := range body {
			f.Body = body[:n]
			if err := decode(&f); err == nil && !openEnded[f.Type] && !listed(&f, n) && !(f.Type == TypeUpdate && n == updatePlain) {
				t.Errorf("%s: accepted when cut to %d bytes", name, n)
			}
		}
		f.Body = append(slices.Clone(body), 'x')
		if err := decode(&f); !openEnded[f.Type] && !errors.Is(err, TrailingBytes) && !errors.Is(err, Truncated) &&
			!((f.Type == TypeDigest || f.Type == TypeTransferRequest) && errors.Is(err, BadValue)) {
			t.Errorf("%s: one byte more: %v", name, err)
		}
		f = *only(t, b)
		f.Type++
		for _, m := range messages {
			if m.sample.Append(nil)[0] == b[0] {
				if err := m.empty().Decode(&f); !errors.Is(err, BadType) {
					t.Errorf("%s as another type: %v", name, err)
				}
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	insert := func(change func(b []byte)) []byte { // 10.0.0.5 -> 198.51.100.9 by SNAT
		s := begun()
		b := AppendInsert(nil, &s)
		change(b)
		return b
	}
	withAck := func(field uint32) []byte { // an update with this MaxAck of the reply
		s := established(begun())
		b := AppendUpdate(nil, &s)
		tail := b[len(b)-3:]
		tail[0], tail[1], tail[2] = tail[0]&0xf0|byte(field>>16), byte(field>>8), byte(field)
		return b
	}
	big := Lanes{n: LanesMax + 1}
	for name, c := range map[string]struct {
		frame []byte
		want  Malformed
	}{
		"insert, sync 3":          {insert(func(b []byte) { b[1] |= 3 << insertSync }), BadFlags},
		"insert, no class":        {insert(func(b []byte) { b[1] |= insertClass; copy(b[4+20+12+6:], []byte{0, 0}) }), BadFlags},
		"insert, mode 3":          {insert(func(b []byte) { b[1] |= insertClass; copy(b[4+20+12+6:], []byte{1, 3}) }), BadFlags},
		"insert, scale 15":        {insert(func(b []byte) { b[4+20+12+6+3] = 0xf0 }), BadValue},
		"insert, window missing":  {insert(func(b []byte) { b[4+20+12+6+2] = 0 }), TrailingBytes},
		"insert, window too many": {insert(func(b []byte) { b[4+20+12+6+2] = 0x11 }), Truncated},
		"insert, NAT to itself":   {insert(func(b []byte) { copy(b[4+20+12:], append(slices.Clone(b[4+20:4+24]), b[4+28:4+30]...)) }), BadFlags},
		"insert, 4 as 6": {func() []byte {
			s := six()
			b := AppendInsert(nil, &s)
			copy(b[24:], make([]byte, 10))
			copy(b[34:], []byte{0xff, 0xff})
			return b
		}(), BadAddress},
		"update, edge of unseen": {func() []byte {
			s := established(begun())
			b := AppendUpdate(nil, &s)
			b[4+8+2] = 0
			return b
		}(), BadValue},
		"update, few cells":      {withAck(ackCoarse | (ackMin - 1)), BadValue},
		"update, many cells":     {withAck(ackCoarse | (ackMax + 1)), BadValue},
		"delete without why":     {AppendDelete(nil, &Delete{Index: 1}), BadFlags},
		"nack from 0":            {(&Nack{Lane: 0, First: 0, Last: 1}).Append(nil), BadSequence},
		"nack backwards":         {(&Nack{Lane: 0, First: 2, Last: 1}).Append(nil), BadSequence},
		"nack lane":              {(&Nack{Lane: 64, First: 1, Last: 1}).Append(nil), BadLane},
		"lost from 0":            {(&Lost{}).Append(nil), BadSequence},
		"ack of 65 lanes":        {append([]byte{byte(TypeAck), 0, 2, 9, big.n}, make([]byte, 65*8)...), BadLane},
		"heartbeat, role":        {(&Heartbeat{Role: 2}).Append(nil), BadValue},
		"heartbeat, flags":       {(&Heartbeat{Condition: 8}).Append(nil), BadFlags},
		"hello, no version":      {(&Hello{Name: "a", Boot: 1}).Append(nil), BadValue},
		"hello, versions":        {(&Hello{Name: "a", Boot: 1, VersionMin: 2, VersionMax: 1}).Append(nil), BadValue},
		"hello, no boot":         {(&Hello{Name: "a", VersionMin: 1, VersionMax: 1}).Append(nil), BadValue},
		"hello, name":            {(&Hello{Name: "a\nb", Boot: 1, VersionMin: 1, VersionMax: 1}).Append(nil), BadValue},
		"hello, long name":       {(&Hello{Name: strings.Repeat("a", 65), Boot: 1, VersionMin: 1, VersionMax: 1}).Append(nil), BadValue},
		"hello, 65 ports":        {lastByte((&Hello{Name: "a", Boot: 1, VersionMin: 1, VersionMax: 1}).Append(nil), 65), BadValue},
		"neighbor, no MAC":       {(&Neighbor{Address: addr("10.0.0.1")}).Append(nil), BadAddress},
		"neighbor, group":        {(&Neighbor{Address: addr("10.0.0.1"), MAC: [6]byte{1}}).Append(nil), BadAddress},
		"neighbor, nobody":       {(&Neighbor{Address: addr("0.0.0.0"), MAC: [6]byte{2}}).Append(nil), BadAddress},
		"standing, nothing":      {(&Standing{}).Append(nil), BadValue},
		"standing, trial":        {(&Standing{Kept: Generation{1, 2}, Trial: Generation{0, 2}}).Append(nil), BadValue},
		"standing, all time":     {(&Standing{Kept: Generation{1 << 63, 2}}).Append(nil), BadValue},
		"order, step":            {(&Order{Step: steps, For: Generation{1, 2}}).Append(nil), BadFlags},
		"order, no image":        {(&Order{For: Generation{1, 2}}).Append(nil), BadValue},
		"order, large image":     {(&Order{For: Generation{1, 2}, Image: Image{imageMax + 1, 5}}).Append(nil), BadValue},
		"order, no window":       {(&Order{Step: StepCommit, For: Generation{1, 2}}).Append(nil), BadValue},
		"order, long window":     {(&Order{Step: StepCommit, For: Generation{1, 2}, Window: windowMaxMs + 1}).Append(nil), BadValue},
		"order, of nothing":      {(&Order{Step: StepRevert}).Append(nil), BadValue},
		"answer, outcome 0":      {(&Answer{For: Generation{1, 2}}).Append(nil), BadFlags},
		"answer, done but":       {(&Answer{For: Generation{1, 2}, Outcome: OutcomeDone, Words: []byte("x")}).Append(nil), BadValue},
		"fetch, nothing":         {(&Fetch{Sum: 1}).Append(nil), BadValue},
		"chunk, empty":           {(&Chunk{Sum: 1}).Append(nil), BadValue},
		"chunk, long":            {(&Chunk{Sum: 1, Data: make([]byte, ChunkMax+1)}).Append(nil), BadValue},
		"kill, empty":            {(&Kill{Before: 1}).Append(nil), BadValue},
		"kill, told twice":       {(&Kill{Before: 1, Kind: KillTold, Selector: []byte("all")}).Append(nil), BadValue},
		"kill, of all time":      {(&Kill{Before: 1 << 63, Selector: []byte("all")}).Append(nil), BadValue},
		"kill, kind":             {(&Kill{Before: 1, Kind: 2}).Append(nil), BadFlags},
		"digest, no round":       {(&Digest{Bits: 1, Sums: make([]byte, 8)}).Append(nil), BadValue},
		"digest, bits":           {(&Digest{Round: 1, Bits: 17, Sums: make([]byte, 8)}).Append(nil), BadValue},
		"digest, half a sum":     {(&Digest{Round: 1, Bits: 1, Sums: make([]byte, 12)}).Append(nil), BadValue},
		"digest, past the end":   {(&Digest{Round: 1, Bits: 1, First: 1, Sums: make([]byte, 16)}).Append(nil), BadValue},
		"digest, no sum":         {(&Digest{Round: 1, Bits: 1}).Append(nil), BadValue},
		"vote-request, too long": {(&VoteRequest{Hold: HoldMax + 1}).Append(nil), BadValue},
		"vote, a flag":           {append([]byte{byte(TypeVote), 2}, (&Vote{}).Append(nil)[2:]...), BadFlags},
		"path, beyond all":       {(&Path{Path: PathsMax}).Append(nil), BadValue},
		"proof, more than there": {(&Proof{Round: 1, Shards: 4, Moving: 3, Divergent: 2}).Append(nil), BadValue},
		"transfer, no id":        {(&TransferRequest{}).Append(nil), BadValue},
		"transfer, no shard":     {(&TransferRequest{ID: 1, Bits: 2, Shards: []byte{0, 4}}).Append(nil), BadValue},
		"transfer, of all time":  {(&TransferEnd{ID: 1, Cut: 1 << 63}).Append(nil), BadValue},
		"killed, outcome":        {(&Killed{Before: 1, Outcome: 2}).Append(nil), BadFlags},
		"kill, long":             {(&Kill{Before: 1, Selector: make([]byte, SelectorMax+1)}).Append(nil), BadValue},
	} {
		if err := decode(only(t, c.frame)); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// lastByte changes the last byte of a message.
func lastByte(b []byte, to byte) []byte {
	b[len(b)-1] = to
	return b
}
