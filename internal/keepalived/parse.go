package keepalived

import (
	"fmt"
	"strconv"
	"strings"
)

// Chosen by us.
const (
	maxDepth = 16 // blocks within blocks: keepalived's deepest has six
	maxWords = 256
)

// A statement is a line, with the block that follows it, if there is one.
type statement struct {
	pos   Pos
	words []string // never empty
	block []*statement
	open  bool // it has a block, perhaps an empty one
}

func (s *statement) keyword() string { return s.words[0] }

// arg returns the nth word after the keyword, or "".
func (s *statement) arg(n int) string {
	if n+1 < len(s.words) {
		return s.words[n+1]
	}
	return ""
}

// A tree is one machine's config.
type tree struct {
	top   []*statement
	notes []Note
	ids   []string // that its conditions name, in order
}

// parse reads a config and what it includes. configID is what @conditions are compared with: keepalived takes the host
// name. Errors are of type *Error, wrap ErrTooMuch, or come from files.
func parse(files Files, path, configID string) (*tree, error) {
	r := &reader{files: files, configID: configID, params: map[string]string{"_INSTANCE": configID}}
	if err := r.file(path, 0); err != nil {
		return nil, err
	}
	root := &statement{open: true}
	stack := []*statement{root}
	for _, l := range r.out {
		tokens, err := lex(l)
		if err != nil {
			return nil, err
		}
		var words []string
		flush := func() {
			if len(words) > 0 {
				top := stack[len(stack)-1]
				top.block = append(top.block, &statement{pos: l.pos, words: words})
				words = nil
			}
		}
		for _, t := range tokens {
			switch {
			case t.quoted || t.text != "{" && t.text != "}":
				if len(words) == maxWords {
					return nil, &Error{l.pos, fmt.Sprintf("more than %d words", maxWords)}
				}
				words = append(words, t.text)
			case t.text == "{":
				flush()
				top := stack[len(stack)-1]
				n := len(top.block)
				if n == 0 || top.block[n-1].open {
					return nil, &Error{l.pos, "a block without a name: nothing stands before {"}
				}
				if len(stack) > maxDepth {
					return nil, &Error{l.pos, fmt.Sprintf("blocks within blocks, more than %d deep", maxDepth)}
				}
				top.block[n-1].open = true
				stack = append(stack, top.block[n-1])
			default:
				flush()
				if len(stack) == 1 {
					return nil, &Error{l.pos, "a } too many"}
				}
				stack = stack[:len(stack)-1]
			}
		}
		flush()
	}
	if len(stack) > 1 {
		s := stack[len(stack)-1]
		return nil, &Error{s.pos, fmt.Sprintf("the block of %s is not closed: a } is missing", s.keyword())}
	}
	return &tree{top: root.block, notes: r.notes, ids: r.ids}, nil
}

type token struct {
	text   string
	quoted bool // at least in part: a brace in it is text
}

// lex splits a line into words and braces. Quotes go, and may stand in the middle of a word.
func lex(l line) ([]token, error) {
	var tokens []token
	var word strings.Builder
	in, quoted := false, false
	end := func() {
		if in {
			tokens = append(tokens, token{word.String(), quoted})
			word.Reset()
			in, quoted = false, false
		}
	}
	s := l.text
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\t', '\v', '\f':
			end()
		case '{', '}':
			// ${NAME} of a parameter that is not defined stays a word.
			if c == '{' && strings.HasSuffix(s[:i], "$") {
				if n := strings.IndexByte(s[i:], '}'); n > 0 && isName(s[i+1:i+n]) {
					word.WriteString(s[i : i+n+1])
					in = true
					i += n
					continue
				}
			}
			end()
			tokens = append(tokens, token{string(c), false})
		case '"', '\'':
			in, quoted = true, true
			for i++; ; i++ {
				if i >= len(s) {
					return nil, &Error{l.pos, "a quotation mark is not closed"}
				}
				if s[i] == c {
					break
				}
				if s[i] == '\\' && i+1 < len(s) {
					i += unescape(&word, s[i+1:])
					continue
				}
				word.WriteByte(s[i])
			}
		case '\\':
			in = true
			if i+1 < len(s) {
				i += unescape(&word, s[i+1:])
			}
		default:
			in = true
			word.WriteByte(c)
		}
	}
	end()
	return tokens, nil
}

var escapes = map[byte]byte{'a': '\a', 'b': '\b', 'E': 27, 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

// unescape writes the character that s, which follows a backslash, stands for, and returns how long it is.
func unescape(b *strings.Builder, s string) int {
	if c, ok := escapes[s[0]]; ok {
		b.WriteByte(c)
		return 1
	}
	digits, base, skip, most := 0, 8, 0, 3
	isDigit := func(c byte) bool { return c >= '0' && c <= '7' }
	if s[0] == 'x' {
		base, skip, most = 16, 1, 2
		isDigit = func(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }
	}
	for skip+digits < len(s) && digits < most && isDigit(s[skip+digits]) {
		digits++
	}
	if n, err := strconv.ParseUint(s[skip:skip+digits], base, 8); err == nil {
		b.WriteByte(byte(n))
		return skip + digits
	}
	b.WriteByte(s[0])
	return 1
}
