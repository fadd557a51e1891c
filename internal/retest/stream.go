package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// outputMax is how much of a test's output is kept, in bytes; the rest is dropped, and the log says so. It is examined
// all the same.
const outputMax = 1 << 20

// event is a line of `go test -json` (go doc test2json, go help buildjson).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// function is a test function: what its sub-tests say belongs to it.
type function struct {
	output strings.Builder
	cut    bool
	unsafe string
	ended  bool
}

// stream makes of the events what `go test` prints without -v, and finds what failed.
type stream struct {
	out io.Writer
	// tests are those of the packages that run, by package and name.
	tests map[string]map[string]*function
	// said is what a package has said outside of its tests.
	said     map[string]*function
	failures []failure
	// broken are packages that failed, and not by a test that failed and ended.
	broken []string
}

func newStream(out io.Writer) *stream {
	return &stream{out: out, tests: make(map[string]map[string]*function), said: make(map[string]*function)}
}

// read reads events until their end.
func (s *stream) read(r io.Reader) error {
	for dec := json.NewDecoder(r); ; {
		var e event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read what go test says: %w", err)
		}
		s.add(e)
	}
}

func (s *stream) add(e event) {
	switch name, sub, _ := strings.Cut(e.Test, "/"); {
	case e.Action == "build-output":
		fmt.Fprint(s.out, e.Output)
	case e.Package == "":
	case e.Test == "":
		s.addPackage(e)
	default:
		f := s.test(e.Package, name)
		switch e.Action {
		case "output":
			f.say(e.Output)
		case "pass", "skip", "fail":
			if sub != "" {
				return
			}
			f.ended = true
			if e.Action == "fail" {
				fmt.Fprint(s.out, f.text())
				s.failures = append(s.failures, failure{Package: e.Package, Test: name, Unsafe: f.unsafe})
			}
			f.output.Reset()
		}
	}
}

func (s *stream) test(pkg, name string) *function {
	if s.tests[pkg] == nil {
		s.tests[pkg] = make(map[string]*function)
	}
	f := s.tests[pkg][name]
	if f == nil {
		f = new(function)
		s.tests[pkg][name] = f
	}
	return f
}

// addPackage is add for what belongs to no test of a package.
func (s *stream) addPackage(e event) {
	f := s.said[e.Package]
	if f == nil {
		f = new(function)
		s.said[e.Package] = f
	}
	switch e.Action {
	case "output":
		if e.Output != "PASS\n" {
			f.say(e.Output)
		}
	case "pass", "skip":
		fmt.Fprint(s.out, f.text())
		s.forget(e.Package)
	case "fail":
		failed := false
		for name, t := range s.tests[e.Package] {
			if !t.ended { // it is in a package that crashed, or ran out of time: these are its last words
				fmt.Fprint(s.out, t.text())
				s.broken = append(s.broken, fmt.Sprintf("%s %s did not end", strings.TrimPrefix(e.Package, module), name))
			}
		}
		for _, t := range s.failures {
			failed = failed || t.Package == e.Package
		}
		fmt.Fprint(s.out, f.text())
		switch {
		case f.unsafe != "":
			s.broken = append(s.broken, fmt.Sprintf("%s: no second chance: it said: %s", strings.TrimPrefix(e.Package, module), f.unsafe))
		case !failed:
			s.broken = append(s.broken, strings.TrimPrefix(e.Package, module)+" failed, and none of its tests")
		}
		s.forget(e.Package)
	}
}

func (s *stream) forget(pkg string) { delete(s.tests, pkg); delete(s.said, pkg) }

func (f *function) say(line string) {
	if strings.HasPrefix(line, "=== ") {
		return
	}
	if f.unsafe == "" && neverNoise.MatchString(line) {
		f.unsafe = strings.TrimSpace(line)
	}
	if f.output.Len()+len(line) > outputMax {
		f.cut = true
		return
	}
	f.output.WriteString(line)
}

func (f *function) text() string {
	if f.cut {
		return f.output.String() + fmt.Sprintf("... (more than %d bytes)\n", outputMax)
	}
	return f.output.String()
}
