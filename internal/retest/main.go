// Retest runs `go test` for scripts/test.sh, and gives tests that failed a second chance, alone on the machine, at the
// end: few of them, and none that watches over safety (verdict.go).
//
//	retest run DIR [flags of go test] -- PACKAGE...
//	retest again DIR
//
// run prints what `go test` does, keeps in DIR what failed, and returns 0 if all of it gets a second chance. again,
// after all runs, runs it, and says loudly what failed first and then passed.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// record is what a run leaves for again.
type record struct {
	Flags    []string
	Failures []failure
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "retest:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "again" {
		return again(args[1])
	}
	sep := slices.Index(args, "--")
	if len(args) < 2 || args[0] != "run" || sep < 2 || sep == len(args)-1 {
		return errors.New("usage: retest run DIR [flags of go test] -- PACKAGE... | retest again DIR")
	}
	dir, flags, packages := args[1], args[2:sep], args[sep+1:]
	s, err := goTest(flags, packages)
	if err != nil {
		return err
	}
	retry, final := verdict(s.failures)
	if final = append(final, s.broken...); len(final) > 0 {
		return errors.New(strings.Join(final, "\n"))
	}
	if len(retry) == 0 {
		return nil
	}
	for _, f := range retry {
		fmt.Printf("retest: %v failed, and runs once more at the end\n", f)
	}
	return keep(dir, record{Flags: flags, Failures: retry})
}

// goTest runs go test. The error is that it cannot be run, or failed for what its events do not tell.
func goTest(flags, packages []string) (*stream, error) {
	cmd := exec.Command("go", slices.Concat([]string{"test", "-json"}, flags, packages)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := newStream(os.Stdout)
	read := s.read(out)
	err = cmd.Wait()
	if read == nil && err != nil && len(s.failures)+len(s.broken) > 0 {
		err = nil // what failed is known
	}
	return s, errors.Join(read, err)
}

// keep writes a record into the directory, as a file of its own.
func keep(dir string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "failed-*.json")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// again runs what the records name, one test at a time.
func again(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "failed-*.json"))
	if err != nil {
		return err
	}
	var records []record
	var all []failure
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var r record
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		records, all = append(records, r), append(all, r.Failures...)
	}
	retry, final := verdict(all)
	if len(final) > 0 {
		return errors.New(strings.Join(final, "\n"))
	}
	for _, r := range records {
		for _, f := range r.Failures {
			fmt.Printf("retest: once more, alone: %v\n", f)
			flags := slices.Concat(r.Flags, []string{"-count=1", "-run", "^" + f.Test + "$"})
			s, err := goTest(flags, []string{f.Package})
			if err != nil {
				return err
			}
			if len(s.failures)+len(s.broken) > 0 {
				return fmt.Errorf("%v failed twice", f)
			}
		}
	}
	if len(retry) > 0 {
		line := strings.Repeat("*", 100)
		fmt.Println(line)
		for _, f := range retry {
			fmt.Printf("*** FAILED FIRST, AND PASSED ALONE: %v (what it said at first is further up)\n", f)
		}
		fmt.Println(line)
	}
	return nil
}
