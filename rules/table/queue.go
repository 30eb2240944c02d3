package table

// queue is the entries that expire, as a binary heap: the one that does so first is at 0.
type queue []*entry

func (q queue) before(i, j int) bool { return q[i].expires.Load() < q[j].expires.Load() }

func (q queue) swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// set says when an entry expires (ns), 0 for never: it enters the queue, moves in it, or
// leaves it.
func (q *queue) set(e *entry, expires int64) {
	e.expires.Store(expires)
	switch {
	case expires != 0 && e.place < 0:
		e.place = len(*q)
		*q = append(*q, e)
		q.up(e.place)
	case expires != 0:
		q.up(e.place)
		q.down(e.place)
	case e.place >= 0:
		at, last := e.place, len(*q)-1
		q.swap(at, last)
		(*q)[last] = nil // for the collector
		*q = (*q)[:last]
		e.place = -1
		if at < last {
			q.up(at)
			q.down(at)
		}
	}
}

func (q queue) up(i int) {
	for i > 0 && q.before(i, (i-1)/2) {
		q.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (q queue) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(q); child++ {
			if q.before(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		q.swap(i, least)
		i = least
	}
}
