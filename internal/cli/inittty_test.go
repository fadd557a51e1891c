package cli

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo terminal: what is written to person is typed.
func openTerminal(t *testing.T) (person, terminal *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return person, terminal
}

// On a terminal it asks by itself, and Enter takes what stands in brackets.
func TestInitOnATerminal(t *testing.T) {
	file := initFile(t)
	a, run := initApp(t, "")
	person, terminal := openTerminal(t)
	a.stdin, a.stderr = terminal, terminal
	seen := make(chan string, 1)
	go func() { // the person reads along, and presses Enter at each question
		var all strings.Builder
		typed := []string{"shop", "", "web2", "db1=10.0.0.13", "", "10.0.0.50"}
		r := bufio.NewReader(person)
		line := ""
		for {
			b, err := r.ReadByte()
			if err != nil {
				seen <- all.String()
				return
			}
			all.WriteByte(b)
			if line += string(b); b == '\n' {
				line = ""
			}
			if strings.HasSuffix(line, ": ") {
				answer := ""
				if len(typed) > 0 {
					answer, typed = typed[0], typed[1:]
				}
				fmt.Fprintln(person, answer)
				line = ""
			}
		}
	}()
	got := run("init", "-c", file)
	terminal.Close()
	text := <-seen
	if got.code != exitOK || !strings.Contains(text, "This machine is web1 with 10.0.0.11/24. Found: apache, mysql.") || !strings.Contains(text, "Write "+file+"? [yes]:") {
		t.Fatalf("got %+v; the terminal showed:\n%s", got, text)
	}
	if cfg := load(t, file); len(cfg.Nodes) != 3 || cfg.Groups[0].Checks[0] != "apache" {
		t.Errorf("got %+v", cfg)
	}
	if left := names(t, filepath.Dir(file)); left != "gossip.key hbagent.toml mysql.dsn" {
		t.Errorf("left behind: %s", left)
	}
}
