package config

import (
	"strings"

	"github.com/BurntSushi/toml"
)

// This file reads keys and values; scan.go reads lines and tables.

// key reads a dotted key and the spaces after it.
func (s *scanner) key() []string {
	var parts []string
	start := s.pos
	for {
		parts = append(parts, s.keyPart())
		s.spaces()
		if s.peek() != '.' {
			return parts
		}
		if len(parts) == maxDepth {
			panic(stopped{span{start, s.pos}, "the key has too many parts", "write the table's header on its own line, and the key below it"})
		}
		s.pos++
		s.spaces()
	}
}

func (s *scanner) keyPart() string {
	start := s.pos
	switch c := s.peek(); c {
	case '"', '\'':
		s.quoted(c)
		raw := s.text[start:s.pos]
		if c == '\'' || !strings.Contains(raw, `\`) {
			return raw[1 : len(raw)-1]
		}
		var k struct{ K string }
		if _, err := toml.Decode("K = "+raw, &k); err != nil {
			s.stop()
		}
		return k.K
	}
	for s.pos < len(s.text) && !strings.ContainsRune(" \t\r\n.=[]{},#\"'", rune(s.text[s.pos])) {
		s.pos++
	}
	if s.pos == start {
		s.stop()
	}
	return s.text[start:s.pos]
}

// val reads one value.
func (s *scanner) val() *node {
	n := &node{value: span{start: s.pos}}
	switch c := s.peek(); {
	case strings.HasPrefix(s.text[s.pos:], `"""`), strings.HasPrefix(s.text[s.pos:], `'''`):
		s.multiline(c)
	case c == '"' || c == '\'':
		s.quoted(c)
	case c == '[':
		n.kind = kindArray
		s.array(n)
	case c == '{':
		n.kind = kindTable
		s.inline(n)
	default:
		end := strings.IndexAny(s.text[s.pos:], ",]}#\r\n")
		if end < 0 {
			end = len(s.text) - s.pos
		}
		end = len(strings.TrimRight(s.text[s.pos:s.pos+end], " \t"))
		if end == 0 {
			s.stop()
		}
		s.pos += end
	}
	n.value.end = s.pos
	return n
}

func (s *scanner) array(n *node) {
	s.pos++
	s.enter(n.value.start)
	for s.blank(); s.peek() != ']'; s.blank() {
		n.items = append(n.items, s.val())
		s.blank()
		if s.peek() == ',' {
			s.pos++
		} else if s.peek() != ']' {
			s.stop()
		}
	}
	s.pos++
	s.depth--
}

func (s *scanner) inline(n *node) {
	s.pos++
	s.enter(n.value.start)
	for s.blank(); s.peek() != '}'; s.blank() {
		s.pair(n)
		s.blank()
		if s.peek() == ',' {
			s.pos++
		} else if s.peek() != '}' {
			s.stop()
		}
	}
	s.pos++
	s.depth--
}

// quoted reads a string of one line, from quote to quote.
func (s *scanner) quoted(quote byte) {
	for s.pos++; s.peek() != quote; s.pos++ {
		if s.pos >= len(s.text) || s.text[s.pos] == '\n' {
			s.stop()
		}
		if quote == '"' && s.text[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
}

// multiline reads a string in three quotes; up to two more may stand before the end.
func (s *scanner) multiline(quote byte) {
	end := strings.Repeat(string(quote), 3)
	for s.pos += 3; !strings.HasPrefix(s.text[min(s.pos, len(s.text)):], end); s.pos++ {
		if s.pos >= len(s.text) {
			s.stop()
		}
		if quote == '"' && s.text[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos += 3
	for i := 0; i < 2 && s.peek() == quote; i++ {
		s.pos++
	}
}
