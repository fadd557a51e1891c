package sim

import "container/heap"

// event is something that happens at an instant. Those of one instant happen
// in the order in which they were planned.
type event struct {
	at  instant
	seq uint64
	do  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}

type queue struct {
	heap eventHeap
	seq  uint64
}

func (q *queue) add(at instant, do func()) {
	q.seq++
	heap.Push(&q.heap, event{at: at, seq: q.seq, do: do})
}

// next removes and returns the earliest event not after end.
func (q *queue) next(end instant) (event, bool) {
	if len(q.heap) == 0 || q.heap[0].at > end {
		return event{}, false
	}
	return heap.Pop(&q.heap).(event), true
}
