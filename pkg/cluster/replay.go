package cluster

// replayBits is how far request numbers may arrive out of order. Chosen by us: a
// node makes 64 calls at a time.
const replayBits = 1024

// replayWindow accepts each (incarnation, number) of one caller once, in the way
// of RFC 6479: the highest number, and a bit for each of the replayBits below it.
// Older incarnations and numbers further back are refused.
type replayWindow struct {
	incarnation uint64
	top         uint64
	seen        [replayBits / 64]uint64 // bit n%replayBits, for n in (top-replayBits, top]
}

// admit returns "" and remembers the number, or says why not. n is not 0.
func (w *replayWindow) admit(incarnation, n uint64) refusal {
	switch {
	case incarnation < w.incarnation:
		return refusedStale
	case incarnation > w.incarnation:
		*w = replayWindow{incarnation: incarnation}
	}
	if n+replayBits <= w.top || n+replayBits < n {
		return refusedRepeat
	}
	if n > w.top {
		if n-w.top >= replayBits {
			w.seen = [replayBits / 64]uint64{}
		} else {
			for i := w.top + 1; i <= n; i++ {
				w.seen[i%replayBits/64] &^= 1 << (i % 64)
			}
		}
		w.top = n
	}
	word, bit := &w.seen[n%replayBits/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return refusedRepeat
	}
	*word |= bit
	return ""
}
