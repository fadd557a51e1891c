package cli

import (
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	defaultWidth = 80 // what a page, a mail and a serial console have
	minWidth     = 60
	maxWidth     = 160
)

// screen is what is known about where the text goes.
type screen struct {
	width    int
	colours  bool
	terminal bool
}

// screenOf looks whether w is a terminal, how wide, and whether colours are welcome (https://no-color.org).
func screenOf(w io.Writer, getenv func(string) string) screen {
	s := screen{width: defaultWidth}
	f, ok := w.(*os.File)
	if !ok {
		return s
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return s
	}
	s.terminal = true
	s.colours = getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		s.width = n
	} else if size.Col > 0 {
		s.width = int(size.Col)
	}
	s.width = min(max(s.width, minWidth), maxWidth)
	return s
}

// A style is an SGR sequence (ECMA-48, 8.3.117).
type style string

const (
	plain  style = ""
	good   style = "\x1b[32m"
	uneasy style = "\x1b[33m"
	bad    style = "\x1b[1;31m"
	faint  style = "\x1b[2m"
	reset        = "\x1b[0m"

	clearScreen = "\x1b[H\x1b[2J"
)

func (s screen) paint(st style, text string) string {
	if !s.colours || st == plain || text == "" {
		return text
	}
	return string(st) + text + reset
}

// wrap breaks text at spaces into lines of at most width characters. A word that is longer gets a line
// of its own, whole: it may be an address or a command that somebody wants to copy.
func wrap(text string, width int) []string {
	var lines []string
	line, length := "", 0
	for _, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case length == 0:
			line, length = word, n
		case length+1+n <= width:
			line, length = line+" "+word, length+1+n
		default:
			lines = append(lines, line)
			line, length = word, n
		}
	}
	return append(lines, line)
}
