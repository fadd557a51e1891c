package mysql

import (
	"fmt"
	"strings"

	"github.com/hbagent/hbagent/internal/role"
)

// Chosen by us.
const (
	maxEntries = 1024 // streams or intervals of one position
	maxDetail  = 160  // bytes of transactions that are named in a message
)

// Position is a set of transactions: of MariaDB's numbering or of MySQL's. The zero
// value is empty. A server knows one of the two, so positions of both are told apart
// by what they lack of each other, which is everything.
type Position struct {
	maria mariaSet
	my    gtidSet
}

// ParsePosition reads what String writes, and what either server prints.
func ParsePosition(s string) (Position, error) {
	if len(s) > role.MaxPosition {
		return Position{}, fmt.Errorf("a GTID position of %d bytes, at most %d", len(s), role.MaxPosition)
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return Position{}, nil
	}
	first, _, _ := strings.Cut(s, ",")
	if strings.Contains(first, ":") {
		my, err := parseGTIDSet(s)
		return Position{my: my}, err
	}
	maria, err := parseMariaSet(s)
	return Position{maria: maria}, err
}

// String is the form that servers print, in one order.
func (p Position) String() string {
	if len(p.my) > 0 {
		return p.my.String()
	}
	return p.maria.String()
}

// Empty reports whether it is the position of a server without transactions.
func (p Position) Empty() bool { return len(p.maria) == 0 && len(p.my) == 0 }

// With is everything of both.
func (p Position) With(q Position) Position {
	return Position{maria: p.maria.union(q.maria), my: p.my.union(q.my)}
}

// Has reports whether p has every transaction of q.
func (p Position) Has(q Position) bool { return p.maria.has(q.maria) && p.my.has(q.my) }

// Lacks counts the transactions of q that p has not.
func (p Position) Lacks(q Position) role.Missing {
	n, detail := p.maria.lacks(q.maria)
	if left := q.my.without(p.my); len(left) > 0 {
		n, detail = n+left.count(), left.String()
	}
	if len(detail) > maxDetail {
		detail = detail[:maxDetail-3] + "..."
	}
	return role.Missing{Transactions: n, Detail: detail}
}

// missing counts transactions of texts that may be of an older or newer agent.
func missing(have, want string) (role.Missing, error) {
	h, err := ParsePosition(have)
	if err != nil {
		return role.Missing{}, err
	}
	w, err := ParsePosition(want)
	if err != nil {
		return role.Missing{}, err
	}
	return h.Lacks(w), nil
}

// transactions is a count in words.
func transactions(n uint64) string {
	if n == 1 {
		return "1 transaction"
	}
	return fmt.Sprintf("%d transactions", n)
}
