package journal

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules/limit"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// now is the time of all tests, in ns of no particular clock.
const now = int64(1_000e9)

func addr(text string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(text)) }

// udp is connection i of a client behind masquerade, as a table would export it: from
// port 10000+i, which is its external port too.
func udp(i int) conntrack.State {
	port := uint16(10000 + i)
	s := conntrack.State{
		Index: uint32(i), Incarnation: conntrack.Incarnation(i+1)<<16 | 1, Class: conntrack.Class{Rule: 7, Ingress: 0, Egress: 1},
		Flags:    conntrack.SourceNAT,
		Original: packet.Tuple{Src: addr("10.0.0.5"), Dst: addr("198.51.100.9"), SrcPort: port, DstPort: 53, Proto: packet.UDP},
	}
	s.Reply = s.Original.Reply()
	s.Reply.Dst = addr("203.0.113.1")
	return s
}

// tcp is the same as an established TCP connection.
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

// further is a state whose client has sent n MiB more.
func further(s conntrack.State, n int) conntrack.State {
	s.Dir[0].End += uint64(n) << 20
	s.Dir[0].MaxEnd = max(s.Dir[0].MaxEnd, s.Dir[0].End)
	return s
}

// way is a link to a peer that the test plays: the far ends of its socket and session.
type way struct {
	Link
	far     int
	session *seal.Session
}

// one is a Sessions that always has the same.
type one struct{ s *seal.Session }

func (o one) Session() *seal.Session { return o.s }

// newWay makes a link over a pair of datagram sockets.
func newWay(t testing.TB) *way {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
		}
	})
	ours, theirs := sessions(t)
	w := &way{far: fds[1], session: theirs}
	w.Way, w.Sessions = Socket(fds[0]), one{ours}
	return w
}

// sessions returns the two ends of one sealed session.
func sessions(t testing.TB) (a, b *seal.Session) {
	t.Helper()
	k := []seal.Key{seal.NewKey()}
	pa, errA := seal.NewPeer(seal.Config{Keys: k})
	pb, errB := seal.NewPeer(seal.Config{Keys: k, Part: seal.Responder})
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	answer := pb.Receive(0, pa.Tick(0, nil), nil).Reply
	confirm := pa.Receive(0, answer, nil).Reply
	pa.Receive(0, pb.Receive(0, confirm, nil).Reply, nil)
	if pa.Session() == nil || pb.Session() == nil {
		t.Fatal("no session")
	}
	return pa.Session(), pb.Session()
}

// batch is one batch as a peer gets it.
type batch struct {
	wire.Header
	plain []byte
	body  []byte // the frames
}

// next returns the next datagram that the link sent, opened; false where there is none.
func (w *way) next(t testing.TB) (b batch, ok bool) {
	t.Helper()
	buf := make([]byte, 2048)
	n, err := unix.Read(w.far, buf)
	if err == unix.EAGAIN {
		return b, false
	}
	if err != nil {
		t.Fatal(err)
	}
	plain, lane, why := w.session.Open(nil, buf[:n])
	if why != seal.Accepted {
		t.Fatalf("the datagram does not open: %v", why)
	}
	b.plain = plain
	if b.Header, b.body, err = wire.DecodeHeader(plain); err != nil {
		t.Fatal(err)
	}
	if b.Kind != wire.Stream || b.Lane != uint16(lane) {
		t.Fatalf("batch of kind %d for lane %d was sealed on lane %d", b.Kind, b.Lane, lane)
	}
	return b, true
}

// all returns everything that the link has sent.
func (w *way) all(t testing.TB) (all []batch) {
	t.Helper()
	for b, ok := w.next(t); ok; b, ok = w.next(t) {
		all = append(all, b)
	}
	return all
}

// types names the messages of a batch.
func (b *batch) types(t testing.TB) (names []string) {
	t.Helper()
	var f wire.Frame
	frames := wire.Frames{Rest: b.body}
	for frames.Next(&f) {
		names = append(names, f.Type.String())
	}
	if err := frames.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// side is a node as far as an Applier sees it.
type side struct {
	*Applier
	table     *conntrack.Table
	pool      *nat.Pool
	limits    *limit.Table // of rule 7
	way       *way         // where its answers go
	neighbors []wire.Neighbor
}

func newSide(t testing.TB, capacity uint32) *side {
	t.Helper()
	table, err := conntrack.New(conntrack.Config{Capacity: capacity, Node: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	limits, err := limit.New(&limit.Plan{
		Limits: []limit.Limit{{Connections: 2, Mask4: 32, Mask6: 64}}, Rules: []limit.Rule{{Number: 7, Limit: 1}},
	}, capacity)
	if err != nil {
		t.Fatal(err)
	}
	s := &side{table: table, pool: nat.NewPool(), limits: limits, way: newWay(t)}
	shared := NewShared(New(1, NewOutlet([]*Link{&s.way.Link})))
	s.Applier = NewApplier(table, s.pool, shared, func(n *wire.Neighbor) { s.neighbors = append(s.neighbors, *n) })
	s.CountIn(func() *limit.Table { return limits })
	return s
}

// take applies everything that a link has sent.
func (s *side) take(t testing.TB, from *way) {
	t.Helper()
	for _, b := range from.all(t) {
		s.Apply(b.body, now)
	}
}

// ports counts external ports with an owner.
func (s *side) ports() (n int) {
	for _, u := range s.pool.Usage() {
		n += u.Used
	}
	return n
}

// states returns what the table holds, by original tuple. Index is the receiver's own.
func (s *side) states() map[packet.Tuple]conntrack.State {
	all := map[packet.Tuple]conntrack.State{}
	for i := range s.table.High() {
		var st conntrack.State
		if s.table.Export(i, now, &st) {
			st.Index = 0
			all[st.Original] = st
		}
	}
	return all
}

// clear removes every connection and gives back what it held.
func (s *side) clear() {
	for i := range s.table.High() {
		var st conntrack.State
		if s.table.Export(i, now, &st) && s.table.Remove(i, st.Incarnation, now, &st) {
			s.gone(&st)
		}
	}
}

// gone gives back what a connection held that has ended here, as a worker does.
func (s *side) gone(last *conntrack.State) {
	s.pool.Release(s.pool.BindingOf(last.Original, last.Reply))
	if last.Complete() {
		s.limits.Leave(last.Rule, &last.Original.Src)
	}
}
