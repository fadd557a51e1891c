package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/setup"
)

// Chosen by us.
const (
	maxAnswer  = 4096 // bytes of one line
	maxTries   = 20   // wrong answers to one question: then nobody is there
	maxMachine = 128  // nodes, addresses or checks in one interview, as in internal/config
	lookupWait = 3 * time.Second
)

// isTerminal tells whether r is one.
func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// lines reads answers. A read that waits for a person cannot be interrupted, so it waits in a goroutine of its own; one
// that is left behind ends with the process.
type lines struct {
	want chan struct{}
	got  chan string // closed at the end of the input
}

func newLines(r io.Reader) *lines {
	l := &lines{want: make(chan struct{}, 1), got: make(chan string)}
	go func() {
		defer close(l.got)
		s := bufio.NewScanner(r)
		s.Buffer(nil, maxAnswer)
		for range l.want {
			if !s.Scan() {
				return
			}
			l.got <- s.Text()
		}
	}()
	return l
}

var errNoAnswer = errors.New("the input has ended before all questions were answered: nothing was changed")

func (l *lines) next(ctx context.Context) (string, error) {
	l.want <- struct{}{}
	select {
	case line, ok := <-l.got:
		if !ok {
			return "", errNoAnswer
		}
		return strings.TrimSpace(line), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// An interview fills a setup: by flags, by answers, or by defaults, in this order.
type interview struct {
	*app
	ctx   context.Context
	o     initOptions
	s     *setup.Setup
	asks  bool
	lines *lines
}

func (iv *interview) say(format string, args ...any) { fmt.Fprintf(iv.stderr, format+"\n", args...) }

func (iv *interview) prompt(question, def string) (string, error) {
	if def != "" {
		question += " [" + def + "]"
	}
	fmt.Fprintf(iv.stderr, "%s: ", question)
	line, err := iv.lines.next(iv.ctx)
	if err != nil {
		fmt.Fprintln(iv.stderr)
		return "", err
	}
	return cmp.Or(line, def), nil
}

// one settles one question. Without a flag, a terminal and a default it is the flag that is missing.
func (iv *interview) one(flag, given, question, def string, set func(string) error) error {
	switch {
	case given != "":
		if err := set(given); err != nil {
			return usagef("--%s %s: %v", flag, given, err)
		}
		return nil
	case !iv.asks && def == "":
		return usagef("--%s is missing (%s); hbagent init --help has an example", flag, question)
	case !iv.asks:
		if err := set(def); err != nil {
			return usagef("%s: the default, %s, does not do (%v): give --%s", question, def, err, flag)
		}
		return nil
	}
	return iv.until(question, def, set)
}

// until asks until the answer is good.
func (iv *interview) until(question, def string, set func(string) error) error {
	for range maxTries {
		answer, err := iv.prompt(question, def)
		if err != nil {
			return err
		}
		err = set(answer)
		if err == nil {
			return nil
		}
		iv.say("  %v", err)
	}
	return fmt.Errorf("%s: %d answers, and none would do", question, maxTries)
}

// several settles a question that has one or more answers; def is that of the first, and an empty one ends.
func (iv *interview) several(flag string, given []string, least int, question func(n int) string, def string, add func(string) error) error {
	for _, g := range given {
		if err := add(g); err != nil {
			return usagef("--%s %s: %v", flag, g, err)
		}
	}
	if len(given) > 0 && len(given) < least {
		return usagef("--%s is there %s, and %d are needed: %s", flag, times(len(given)), least, question(len(given)))
	}
	if len(given) > 0 {
		return nil
	}
	if !iv.asks && least > 0 {
		return usagef("--%s is missing (%s); hbagent init --help has an example", flag, question(0))
	}
	for n := 0; iv.asks && n < maxMachine; n++ {
		ended := false
		q := question(n)
		if n >= least {
			q += " (empty: no more)"
		}
		err := iv.until(q, def, func(answer string) error {
			if answer == "" && n >= least {
				ended = true
				return nil
			}
			return add(answer)
		})
		if err != nil || ended {
			return err
		}
		def = ""
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// addNode also takes a name alone, if it can be looked up.
func (iv *interview) addNode(text string) error {
	// An address alone would be looked up as itself, and be its own name.
	if _, err := netip.ParseAddr(text); err != nil && text != "" && !strings.ContainsAny(text, "= ") {
		ctx, cancel := context.WithTimeout(iv.ctx, lookupWait)
		defer cancel()
		addrs, err := iv.neighbors.init.lookup(ctx, text)
		addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return a.IsLoopback() }) // Debian's 127.0.1.1
		if err == nil && len(addrs) > 0 {
			iv.say("  %s is %s", text, addrs[0].Unmap())
			text += "=" + addrs[0].Unmap().String()
		}
	}
	return iv.s.AddNode(text)
}
