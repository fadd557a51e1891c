package main

import "testing"

func TestTyped(t *testing.T) {
	if got, want := typed([]string{"make", "x", "RUN=A|it's"}), `make x 'RUN=A|it'\''s'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTestOutput(t *testing.T) {
	const output = `=== RUN   TestFaults
    stage3_test.go:280: 3 times each:
                fault     min
          kill apache   564ms
=== RUN   TestFaults/one
        one_test.go:7: a sub-test says
            two lines
    --- PASS: TestFaults/one (0.00s)
--- PASS: TestFaults (123.54s)
goos: linux
BenchmarkGate/1    	  100	  5 ns/op
testing: warning: no tests to run
PASS
ok  	github.com/hbagent/hbagent/internal/e2e/stage3	125.517s
`
	const want = `3 times each:
        fault     min
  kill apache   564ms
a sub-test says
two lines
goos: linux
BenchmarkGate/1    	  100	  5 ns/op
`
	if got := testOutput(output); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
