package vip

import (
	"fmt"
	"os/exec"
	"testing"
	"time"
)

const gateTTL = time.Second

// gate is a gate in the namespace of the test. The Manager that gets it closes it.
func (s *segment) gate(o GateOptions) *NFTGate {
	s.t.Helper()
	if o.TTL == 0 {
		o.TTL = gateTTL
	}
	g, err := NewGate(o)
	s.must(err)
	s.t.Cleanup(func() { _ = cleanTables() })
	return g
}

// cleanTables removes our tables, whatever a test left.
func cleanTables() error {
	s, err := newNFTSocket()
	if err != nil {
		return err
	}
	defer s.close()
	return removeTables(s, TableName)
}

// nft runs the command line tool, where there is one.
func nft(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs the nft command")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestSmoke(t *testing.T) {
	s := newSegment(t)
	m := s.run(Options{Groups: []Group{s.web()}, Gate: s.gate(GateOptions{})})
	s.must(m.Open("web", in(time.Second)))
	fmt.Println(m.Gate(), nft(t, "list", "ruleset"))
	t0 := time.Now()
	s.must(m.Renew("web", in(time.Second)))
	fmt.Println(time.Since(t0))
	s.must(m.Shut("web", "x"))
	fmt.Println(nft(t, "list", "ruleset"))
}
