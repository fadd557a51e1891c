package checks

import "fmt"

// A Status is what a check's results amount to.
type Status int

// The statuses of a check. A check is Pending only until its first result.
const (
	Pending Status = iota
	Passing
	Failing
)

// String returns "pending", "passing" or "failing".
func (s Status) String() string {
	switch s {
	case Pending:
		return "pending"
	case Passing:
		return "passing"
	case Failing:
		return "failing"
	}
	return fmt.Sprintf("Status(%d)", int(s))
}

// RiseFall turns results into a status. It is a value: Next returns the
// successor and changes nothing, so that a caller may look before it leaps.
// The zero Status is Pending; Rise and Fall below 1 count as 1.
type RiseFall struct {
	Rise, Fall int
	Status     Status
	// Against counts the latest results in a row that speak against Status:
	// failures while Passing, successes while Failing.
	Against int
}

// Next returns the state after one more result. The first result decides at
// once; final makes a failure count as if it were the Fall-th.
func (r RiseFall) Next(ok, final bool) RiseFall {
	verdict := Failing
	if ok {
		verdict = Passing
	}
	switch {
	case r.Status == verdict:
		r.Against = 0
		return r
	case r.Status == Pending, final && !ok:
		r.Status, r.Against = verdict, 0
		return r
	}
	r.Against++
	if r.Against >= r.needed() {
		r.Status, r.Against = verdict, 0
	}
	return r
}

// needed is how many results in a row overturn the present status.
func (r RiseFall) needed() int {
	if r.Status == Passing {
		return max(r.Fall, 1)
	}
	return max(r.Rise, 1)
}

// Explain adds to message how far the present row of results has come, for
// those moments when the message seems to contradict the status.
func (r RiseFall) Explain(message string) string {
	if r.Against == 0 {
		return message
	}
	word := "success"
	if r.Status == Passing {
		word = "failure"
	}
	return withSuffix(message, fmt.Sprintf(" (%s %d of %d)", word, r.Against, r.needed()))
}
