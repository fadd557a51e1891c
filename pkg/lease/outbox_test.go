package lease

import "testing"

// Tickets leave first, and what leaves first has the lower sequence: an addressee drops what is older than the last.
func TestSequencesRiseInTheOrderOfSending(t *testing.T) {
	l := newLone(t, nil)
	l.Effects()
	l.out.entry("a", request("web", 7))
	l.out.entry("v", request("web", 7)) // its own voter answers in the same batch
	l.out.entry("c", Entry{Group: "db", Kind: KindTicket, Epoch: 7, To: "c", ToRun: 99, ToEpoch: 8})
	l.flush(l.time())
	var to []string
	var last Seq
	for _, e := range l.Effects() {
		s, ok := e.(Send)
		if !ok {
			continue
		}
		if to = append(to, s.To); s.Message.Seq.Compare(last) <= 0 {
			t.Errorf("%v to %s after %v", s.Message.Seq, s.To, last)
		}
		last = s.Message.Seq
	}
	if len(to) != 2 || to[0] != "c" {
		t.Errorf("sent to %v, want c first and a second", to)
	}
}
