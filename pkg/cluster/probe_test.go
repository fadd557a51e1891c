package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// quick asks often, and not for long.
var quick = ProbeOptions{Count: 12, Every: 5 * time.Millisecond}

func TestProbe(t *testing.T) {
	nw := newNetwork(t, "web1", "web2", "db1")
	a := nw.start("web1")
	b := nw.start("web2")
	if err := b.Publish(NodeState{ConfigHash: "cafe", Generation: 7}); err != nil {
		t.Fatal(err)
	}
	probes := a.Probe(t.Context(), quick)
	if len(probes) != 2 || probes[0].Node != "db1" || probes[1].Node != "web2" {
		t.Fatalf("got %+v, want db1 and web2", probes)
	}
	p := probes[1]
	if p.Answered != quick.Count || p.Sent != quick.Count || len(p.RTTs) != quick.Count || p.BigAnswered != bigProbes || p.BigSent != bigProbes {
		t.Errorf("web2 answered %d of %d and %d of %d", p.Answered, p.Sent, p.BigAnswered, p.BigSent)
	}
	if p.Stream.State != StreamOK || p.Back == nil || p.Back.State != StreamOK {
		t.Errorf("streams: %+v and %+v, want both ok", p.Stream, p.Back)
	}
	if !p.Answers || p.Version != "1.0" || p.ConfigHash != "cafe" || p.Generation != 7 || p.TTL != time.Second {
		t.Errorf("web2 says %+v", p)
	}
	if p.Clock.Abs() > p.ClockError || p.ClockError <= 0 {
		t.Errorf("the clock of this machine differs from itself by %v ± %v", p.Clock, p.ClockError)
	}
	// Nobody is db1.
	if p := probes[0]; p.Answered != 0 || p.Stream.State != StreamRefused || p.Back != nil || p.WrongKey || p.Answers {
		t.Errorf("db1, where nobody listens: %+v", p)
	}
}

// Somebody who has no agent asks from a port of his own, and the stream back is refused.
func TestProbeFromWithoutAgent(t *testing.T) {
	nw := newNetwork(t, "web1", "web2")
	nw.start("web2")
	probes, err := ProbeFrom(t.Context(), nw.options("web1"), quick)
	if err != nil {
		t.Fatal(err)
	}
	p := probes[0]
	if p.Answered != quick.Count || p.Stream.State != StreamOK || p.Back == nil || p.Back.State != StreamRefused {
		t.Errorf("got %+v with back %+v", p, p.Back)
	}
	o := nw.options("web1")
	o.Peers = append([]Peer{{Name: "web1", Address: netip.MustParseAddr("192.0.2.1")}}, o.Peers[1:]...)
	if _, err := ProbeFrom(t.Context(), o, quick); err == nil || !strings.Contains(err.Error(), "192.0.2.1 is not on this machine") {
		t.Errorf("from an address that is not here: %v", err)
	}
	o.Node = "web9"
	if _, err := ProbeFrom(t.Context(), o, quick); err == nil || !strings.Contains(err.Error(), "web9") {
		t.Errorf("from a node that is not configured: %v", err)
	}
}

// Another key, another cluster, and no key at all are told apart from silence.
func TestProbeOtherKey(t *testing.T) {
	other := bytes.Repeat([]byte{7}, 32)
	tests := []struct {
		name   string
		change func(*Options)
		key    bool
		of     string
	}{
		{"key", func(o *Options) { o.Keys = [][]byte{other} }, true, ""},
		{"none", func(o *Options) { o.Keys, o.Insecure = nil, true }, true, ""},
		{"cluster", func(o *Options) { o.Cluster = "elsewhere" }, false, "elsewhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nw := newNetwork(t, "web1", "web2")
			a := nw.start("web1")
			b := nw.start("web2", tt.change)
			for from, n := range map[string]*node{"web1": a, "web2": b} {
				p := n.Probe(t.Context(), quick)[0]
				wantOf := tt.of
				if wantOf != "" && from == "web2" {
					wantOf = "shop"
				}
				if p.WrongKey != tt.key || p.WrongCluster != wantOf || p.Answered != 0 || p.Stream.State == StreamOK || p.Answers {
					t.Errorf("from %s: %+v", from, p)
				}
			}
		})
	}
}

// The first key seals, all open; another set takes effect while running.
func TestProbeUpdateKeys(t *testing.T) {
	other := bytes.Repeat([]byte{7}, 16)
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.start("web1"), nw.start("web2")
	if err := a.UpdateKeys([][]byte{other, testKey}); err != nil {
		t.Fatal(err)
	}
	if p := a.Probe(t.Context(), quick)[0]; !p.WrongKey {
		t.Errorf("sealed with a key that web2 has not: %+v", p)
	}
	if p := b.Probe(t.Context(), quick)[0]; !p.WrongKey { // web1 opens the question, and web2 cannot open the answer
		t.Errorf("answered with a key that is not here: %+v", p)
	}
	if err := b.UpdateKeys([][]byte{testKey, other}); err != nil {
		t.Fatal(err)
	}
	if p := a.Probe(t.Context(), quick)[0]; p.WrongKey || p.Answered != quick.Count {
		t.Errorf("both have both keys: %+v", p)
	}
}

// A peer that asks too often is not answered.
func TestAnsweringHasABound(t *testing.T) {
	var a answering
	now := time.Unix(1, 0)
	for i := range maxAnswers {
		if !a.allow(now) {
			t.Fatalf("question %d was refused", i)
		}
	}
	if a.allow(now) {
		t.Error("one too many was allowed")
	}
	if !a.allow(now.Add(time.Second)) {
		t.Error("a second later it is refused still")
	}
}

func TestSealer(t *testing.T) {
	s, err := newSealer("shop", [][]byte{testKey})
	if err != nil {
		t.Fatal(err)
	}
	b := s.seal(probeAsk, 5, probeAskBody{From: "web1", Back: true}, maxProbe)
	if len(b) != maxProbe {
		t.Errorf("%d bytes, want %d", len(b), maxProbe)
	}
	p, err := parseProbe(b)
	if err != nil {
		t.Fatal(err)
	}
	var body probeAskBody
	if err := s.open(p, &body); err != nil || p.id != 5 || body != (probeAskBody{"web1", true}) {
		t.Errorf("%+v %+v, %v", p, body, err)
	}
	// Every bit in front of the nonce and in the seal counts.
	for i := len(probeMagic); i < len(b); i += 13 {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		p, err := parseProbe(changed)
		if err == nil {
			err = s.open(p, &body)
		}
		if err == nil {
			t.Errorf("byte %d was changed, and nobody noticed", i)
		}
	}
	// A question cannot be turned into an answer.
	plain, _ := newSealer("shop", nil)
	if p, err := parseProbe(plain.seal(probeAsk, 1, probeAskBody{From: "x"}, 0)); err != nil || !errors.Is(s.open(p, &body), errNotOpened) {
		t.Errorf("what is not sealed was opened: %v", err)
	}
}

func FuzzProbe(f *testing.F) {
	s, err := newSealer("shop", [][]byte{testKey})
	if err != nil {
		f.Fatal(err)
	}
	plain, _ := newSealer("shop", nil)
	f.Add(s.seal(probeAsk, 5, probeAskBody{From: "web1"}, smallProbe))
	f.Add(plain.seal(probeAnswer, 5, probeAnswerBody{Node: "web1"}, 0))
	f.Add(s.nack(1, nackKey))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseProbe(b)
		if err != nil {
			return
		}
		var a probeAnswerBody
		_ = s.open(p, &a)
		_ = plain.open(p, &a)
	})
}
