package sim

// event is something that happens at an instant. Those of one instant happen
// in the order in which they were planned.
type event struct {
	at  instant
	seq uint64
	do  func()
}

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// queue is a binary heap. It is written out, since container/heap would box each
// event, and there are a quarter of a million a second.
type queue struct {
	heap []event
	seq  uint64
}

func (q *queue) add(at instant, do func()) {
	q.seq++
	h := append(q.heap, event{at: at, seq: q.seq, do: do})
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	q.heap = h
}

// next removes and returns the earliest event not after end.
func (q *queue) next(end instant) (event, bool) {
	h := q.heap
	if len(h) == 0 || h[0].at > end {
		return event{}, false
	}
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = event{} // its closure may go
	h = h[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1].before(h[down]) {
			down++
		}
		if !h[down].before(h[i]) {
			break
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
	q.heap = h
	return first, true
}
