package journal

import "holdfast/internal/mutant"

// limboMax is how many connections wait between two lanes at most. A lane that lost a batch
// has it again within some 20 ms, in which a peer ends some hundreds of connections of which
// few fall between two lanes.
const limboMax = 1024

// limboLife is how long one waits, in ns. It is short, because a delete names a connection
// by half an incarnation, which comes again.
const limboLife = int64(2e9)

// limbo holds the connections of a peer whose insert and delete came by two lanes in the
// wrong order, or whose index was used again before their delete came. What falls out for
// age is found by comparing the tables. The zero value is empty.
//
//	lane 0:  insert 7 ............... lost, sent again ->  ends at once: its delete was here
//	lane 1:             delete 7 -> kept
//
//	lane 0:                        insert 7' -> index means 7' now, 7 waits
//	lane 1:  delete 7 .............. lost, sent again ->  ends 7
type limbo struct {
	at   map[naming]waiting
	ring []naming // in the order they came
	next int
}

// naming is how a delete names a connection.
type naming struct{ index, life uint32 }

// waiting is a connection between two lanes.
type waiting struct {
	ours uint32 // our index + 1 of one that waits for its delete; 0: it is over
	last int64  // until when it waits, ns
}

// isOver reports whether the delete of a connection came before its insert.
func (l *limbo) isOver(n naming, now int64) bool {
	if len(l.at) == 0 || mutant.DeleteForgotten {
		return false
	}
	w, there := l.at[n]
	return there && w.ours == 0 && now < w.last
}

// wait keeps what a connection is here until its delete comes.
func (l *limbo) wait(n naming, ours uint32, now int64) { l.put(n, waiting{ours, now + limboLife}) }

// end takes in a delete: it returns our index of the connection if that waits, and otherwise
// keeps that it is over.
func (l *limbo) end(n naming, now int64) (ours uint32, ok bool) {
	w := l.at[n]
	l.put(n, waiting{0, now + limboLife})
	return w.ours - 1, w.ours != 0 && now < w.last
}

func (l *limbo) put(n naming, w waiting) {
	if l.at == nil {
		l.at = make(map[naming]waiting)
	}
	if _, there := l.at[n]; there {
		l.at[n] = w
		return
	}
	if len(l.ring) < limboMax {
		l.ring = append(l.ring, n)
	} else {
		delete(l.at, l.ring[l.next])
		l.ring[l.next] = n
		l.next = (l.next + 1) % limboMax
	}
	l.at[n] = w
}
