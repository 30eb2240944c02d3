package seal

import (
	"bytes"
	"fmt"
	"testing"
)

// FuzzOpen gives a session bytes that it did not make: none of them opens.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("HF\x01\x04"))
	f.Add([]byte("HF\x01\x04\x00\x00\x00\x01\x00\x3f\x00\x00\x00\x00\x00\x00"))
	f.Add(append([]byte("HF\x01\x04\x00\x00\x00\x01\x00\x3f\xff\xff\xff\xff\xff\xff"), make([]byte, 16)...))
	f.Add(append([]byte("HF\x01\x04\x00\x00\x00\x01\x00\x40\x00\x00\x00\x00\x00\x00"), make([]byte, 1400)...))
	_, s := pair(f)
	s.id = 1 // so that the fuzzer can name it
	f.Fuzz(func(t *testing.T, datagram []byte) {
		plaintext, _, why := s.Open(nil, datagram)
		if why <= Accepted || why >= rejectsCount || plaintext != nil {
			t.Fatalf("%x: %v", datagram, why)
		}
	})
}

// FuzzPeer lets the fuzzer be the network between two Peers: it loses, repeats, reorders,
// cuts and changes datagrams, restarts nodes and lets time pass. Whatever it does, only
// words that were sealed are opened, none twice, and when it stops the two can talk.
func FuzzPeer(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 1, 16, 17, 16, 17, 32, 33})                               // tick, tick, deliver ...
	f.Add([]byte{0, 1, 16, 16, 17, 64, 1, 2, 96, 0, 16, 112, 0, 1, 16, 17})   // with flips and repeats
	f.Add([]byte{0, 16, 17, 16, 17, 113, 0, 1, 33, 17, 16, 17, 16, 32, 16})   // with a restart
	f.Add([]byte{0, 1, 80, 5, 81, 9, 48, 0, 49, 0, 16, 17, 96, 97, 128, 129}) // with cuts and renewals
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 400 {
			return
		}
		n := newFuzzNetwork(t)
		for len(script) > 0 {
			script = n.step(script)
		}
		n.settle()
	})
}

// fuzzNetwork is the adversary's view: everything ever sent to each end, and what is
// still to be delivered.
type fuzzNetwork struct {
	t      *testing.T
	now    int64
	key    Key
	ends   [2]*Peer
	queue  [2][][]byte // on the way to an end
	all    [2][][]byte // ever sent to an end
	sealed map[string]int
	word   int
}

func newFuzzNetwork(t *testing.T) *fuzzNetwork {
	n := &fuzzNetwork{t: t, key: Key{1}, sealed: map[string]int{}}
	n.restart(0)
	n.restart(1)
	return n
}

func (n *fuzzNetwork) restart(i int) {
	p, err := NewPeer(Config{Keys: []Key{n.key}, Part: Part(i), Payload: []byte("name")})
	if err != nil {
		n.t.Fatal(err)
	}
	n.ends[i] = p
}

func (n *fuzzNetwork) send(from int, d []byte) {
	if len(d) > 0 {
		n.queue[1-from] = append(n.queue[1-from], bytes.Clone(d))
		n.all[1-from] = append(n.all[1-from], bytes.Clone(d))
	}
}

func (n *fuzzNetwork) receive(to int, d []byte) {
	r := n.ends[to].Receive(n.now, bytes.Clone(d), nil)
	switch r.Outcome {
	case Opened:
		n.sealed[string(r.Plaintext)]--
		if n.sealed[string(r.Plaintext)] < 0 {
			n.t.Fatalf("%q was opened more often than sealed", r.Plaintext)
		}
	case Rejected:
		if r.Reject <= Accepted || r.Plaintext != nil || r.Established != nil {
			n.t.Fatalf("rejected for %v, with a result", r.Reject)
		}
	}
	n.send(to, r.Reply)
}

// step takes one operation, and its argument if it has one, off the script. The low bit
// says which end.
func (n *fuzzNetwork) step(script []byte) []byte {
	op, i, argument := script[0]>>4, int(script[0]&1), 0
	script = script[1:]
	if len(script) > 0 && op >= 3 && op <= 6 {
		argument, script = int(script[0]), script[1:]
	}
	head := func() (d []byte) {
		if len(n.queue[i]) > 0 {
			d, n.queue[i] = n.queue[i][0], n.queue[i][1:]
		}
		return d
	}
	switch op {
	case 0:
		n.now += 60 * ms
		n.send(i, n.ends[i].Tick(n.now, nil))
	case 1:
		n.receive(i, head())
	case 2:
		if s := n.ends[i].Session(); s != nil {
			n.word++
			word := fmt.Sprint(n.word)
			n.sealed[word]++
			n.send(i, s.Seal(Lane(n.word%4), nil, []byte(word)))
		}
	case 3: // lose, or swap the next two
		if d := head(); argument&1 != 0 && d != nil {
			n.queue[i] = append(n.queue[i], d)
		}
	case 4: // flip a bit
		if d := head(); len(d) > 0 {
			d[argument%len(d)] ^= 1 << (argument % 7)
			n.receive(i, d)
		}
	case 5: // cut
		if d := head(); len(d) > 0 {
			n.receive(i, d[:argument%len(d)])
		}
	case 6: // replay anything, to its receiver or to its sender
		if a := n.all[i]; len(a) > 0 {
			n.receive(i^argument>>7, a[argument%len(a)])
		}
	case 7:
		n.restart(i)
	case 8:
		n.ends[i].Renew()
	default:
		n.now += int64(op) * 500 * ms
	}
	return script
}

// settle is what follows when the network is good again.
func (n *fuzzNetwork) settle() {
	var heard [2]int64
	for range 120 {
		n.now += 60 * ms
		for i, p := range n.ends {
			n.send(i, p.Tick(n.now, nil))
			if s := p.Session(); s != nil {
				n.send(i, s.Seal(0, nil, fmt.Appendf(nil, "settle %d", i)))
				n.sealed[fmt.Sprintf("settle %d", i)]++
			}
		}
		for len(n.queue[0])+len(n.queue[1]) > 0 {
			for i, p := range n.ends {
				for _, d := range n.queue[i] {
					before := p.Rejects().Count(Accepted)
					n.queue[i] = n.queue[i][1:]
					n.receive(i, d)
					if p.Rejects().Count(Accepted) > before && d[3] == byte(KindSealed) && len(d) > Overhead {
						heard[i] = n.now
					}
				}
			}
		}
	}
	for i := range heard {
		if heard[i] != n.now {
			n.t.Fatalf("end %d hears nothing after the network is good again", i)
		}
	}
}
