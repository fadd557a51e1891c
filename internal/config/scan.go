package config

import "strings"

// maxDepth of arrays, inline tables and dotted keys; the schema needs three. Chosen by
// us: the TOML library recurses once a level and is quadratic in the parts of a key.
const maxDepth = 8

// nodeKind is what stands at a place.
type nodeKind int

const (
	kindScalar  nodeKind = iota // a string, number, boolean, date
	kindArray                   // [1, 2]
	kindTable                   // [table], {inline = "table"}, or implied by a dotted key
	kindTables                  // [[table]] ...
	kindImplied                 // a table nobody has written yet: a in [a.b] or a.b = 1
)

// node is where a key and its value stand. The library tells positions for syntax
// errors only, so the same text is walked once more for the places. The walk knows
// just as much TOML as that needs; the library's word on what is valid is the last.
type node struct {
	kind   nodeKind
	key    span             // the key, or the header
	value  span             // the value; the header of a table
	fields map[string]*node // of a table
	items  []*node          // of an array, or of [[tables]]
}

func (n *node) field(name string) *node { return n.fields[name] }

func (n *node) item(i int) *node {
	if i < len(n.items) {
		return n.items[i]
	}
	return n
}

func (n *node) set(name string, child *node) {
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	n.fields[name] = child
}

// stopped is why and where a walk ended before the end of the text.
type stopped struct {
	at      span
	message string // empty: not understood; the library will have a better word for it
	hint    string
}

type scanner struct {
	rep   *report
	text  string
	pos   int
	depth int
}

// scan walks the text and returns the places. Keys and tables that are written twice
// are reported. If the walk ends early, stop is not nil.
func scan(rep *report) (root *node, stop *stopped) {
	s := &scanner{rep: rep, text: rep.src.text}
	root = &node{kind: kindTable}
	defer func() {
		if r := recover(); r != nil {
			st, ok := r.(stopped)
			if !ok {
				panic(r)
			}
			stop = &st
		}
	}()
	table := root
	for s.blank(); s.pos < len(s.text); s.blank() {
		if s.text[s.pos] == '[' {
			table = s.header(root)
		} else {
			s.pair(table)
		}
		s.endOfLine()
	}
	return root, nil
}

// stop ends the walk; only scan recovers it.
func (s *scanner) stop() { panic(stopped{at: span{s.pos, s.pos + 1}}) }

func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) expect(c byte) {
	if s.peek() != c {
		s.stop()
	}
	s.pos++
}

func (s *scanner) spaces() {
	for s.peek() == ' ' || s.peek() == '\t' {
		s.pos++
	}
}

func (s *scanner) comment() {
	if s.peek() != '#' {
		return
	}
	if i := strings.IndexByte(s.text[s.pos:], '\n'); i >= 0 {
		s.pos += i
	} else {
		s.pos = len(s.text)
	}
}

// blank skips spaces, ends of lines and comments.
func (s *scanner) blank() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		case '#':
			s.comment()
		default:
			return
		}
	}
}

func (s *scanner) endOfLine() {
	s.spaces()
	s.comment()
	if s.peek() == '\r' {
		s.pos++
	}
	if s.pos < len(s.text) && s.text[s.pos] != '\n' {
		s.stop()
	}
}

func (s *scanner) enter(from int) {
	if s.depth++; s.depth > maxDepth {
		panic(stopped{span{from, s.pos}, "nested too deeply", "no key of hbagent needs more than a list or a table of names"})
	}
}

// header reads [a.b] or [[a.b]] and returns the table that the next lines fill.
func (s *scanner) header(root *node) *node {
	start := s.pos
	s.pos++
	list := s.peek() == '['
	if list {
		s.pos++
	}
	s.spaces()
	parts := s.key()
	s.expect(']')
	if list {
		s.expect(']')
	}
	at := span{start, s.pos}
	parent, last := s.descend(root, parts, at), parts[len(parts)-1]
	old := parent.field(last)
	table := &node{kind: kindTable, key: at, value: at}
	switch {
	case old == nil && list:
		parent.set(last, &node{kind: kindTables, key: at, value: at, items: []*node{table}})
	case old == nil:
		parent.set(last, table)
	case list && old.kind == kindTables:
		old.items = append(old.items, table)
	case !list && old.kind == kindImplied:
		old.kind, old.key, old.value = kindTable, at, at
		return old
	default:
		s.twice(last, at, old)
	}
	return table
}

// pair reads key = value into table.
func (s *scanner) pair(table *node) {
	start := s.pos
	parts := s.key()
	at := span{start, s.pos}
	for at.end > at.start && (s.text[at.end-1] == ' ' || s.text[at.end-1] == '\t') {
		at.end--
	}
	s.expect('=')
	s.spaces()
	child := s.val()
	child.key = at
	parent, last := s.descend(table, parts, at), parts[len(parts)-1]
	if old := parent.field(last); old != nil {
		s.twice(last, at, old)
		return
	}
	parent.set(last, child)
}

func (s *scanner) twice(name string, at span, old *node) {
	hint := "keep one of the two"
	if s.text[at.start] == '[' {
		hint = "put the keys of both into one table"
		if isList(name) {
			hint = "each " + name + " begins with a line [[" + name + "]], with two brackets"
		}
	}
	s.rep.clash(at, quote(name)+" is written twice", hint, old.key, "first here")
}

// descend returns the table that holds the last of parts, making those on the way.
func (s *scanner) descend(table *node, parts []string, at span) *node {
	for _, name := range parts[:len(parts)-1] {
		child := table.field(name)
		if child == nil {
			child = &node{kind: kindImplied, key: at, value: at}
			table.set(name, child)
		}
		if child.kind == kindTables {
			child = child.items[len(child.items)-1]
		}
		table = child
	}
	return table
}
