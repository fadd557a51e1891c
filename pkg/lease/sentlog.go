package lease

// sentLog remembers when the last messages left. An answer to one that is no
// longer in it does not count, so its length bounds memory and nothing else.
type sentLog struct{ entries [4096]sentEntry }

type sentEntry struct {
	counter uint64
	at      Instant
}

func (l *sentLog) note(counter uint64, at Instant) {
	l.entries[counter%uint64(len(l.entries))] = sentEntry{counter, at}
}

func (l *sentLog) at(counter uint64) (Instant, bool) {
	e := l.entries[counter%uint64(len(l.entries))]
	return e.at, e.counter == counter && counter != 0
}
