package cluster

import (
	"bytes"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// far is a memberlist with nothing of ours in it, and a wire to it.
func far(t *testing.T, key []byte) (*memberlist.Memberlist, *memberlist.MockTransport, <-chan []byte) {
	t.Helper()
	var nw memberlist.MockNetwork
	here, there := nw.NewTransport("here"), nw.NewTransport("there")
	got := make(chan []byte, 16)
	cfg := memberlistConfig(Options{Node: "there", Cluster: "shop", TTL: time.Second, Port: testPort}, &Cluster{},
		&transport{}, log.New(t.Output(), "", 0))
	cfg.Transport, cfg.CIDRsAllowed, cfg.Delegate = there, nil, onlyMessages{got: got}
	cfg.Events, cfg.Ping, cfg.Alive, cfg.Conflict = nil, nil, nil, nil
	if key != nil {
		ring, err := memberlist.NewKeyring(nil, key)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Keyring = ring
	}
	ml, err := memberlist.Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ml.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return ml, here, got
}

type onlyMessages struct {
	memberlist.Delegate
	got chan<- []byte
}

func (onlyMessages) NodeMeta(int) []byte { return nil }
func (o onlyMessages) NotifyMsg(b []byte) {
	o.got <- bytes.Clone(b)
}
func (onlyMessages) GetBroadcasts(int, int) [][]byte { return nil }

// What memberlist sends is read, and memberlist reads what is sent.
func TestLeaseWireIsMemberlists(t *testing.T) {
	t.Parallel()
	other := []byte("fedcba9876543210")
	for _, tt := range []struct {
		name  string
		keys  [][]byte
		their []byte
	}{
		{"encrypted", [][]byte{testKey}, testKey},
		{"the second key", [][]byte{testKey, other}, other},
		{"insecure", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, err := newLeaseWire("shop", tt.keys)
			if err != nil {
				t.Fatal(err)
			}
			ml, here, got := far(t, tt.their)
			payload := bytes.Repeat([]byte("lease "), 30)
			to, port, err := here.FinalAdvertiseAddr("", 0)
			if err != nil {
				t.Fatal(err)
			}
			sent := make(chan error, 1)
			go func() {
				sent <- ml.SendToAddress(memberlist.Address{Addr: fmt.Sprintf("%s:%d", to, port), Name: "here"}, encodeLease(payload))
			}()
			packet := (<-here.PacketCh()).Buf
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			if read, ok := w.open(packet); !ok || !bytes.Equal(read, payload) {
				t.Errorf("a lease of memberlist is read as %q, %v", read, ok)
			}

			if tt.their != nil && !bytes.Equal(tt.their, tt.keys[0]) {
				return // they have not got the key that is sent with
			}
			if _, err := here.WriteToAddress(w.seal(payload), memberlist.Address{Addr: ml.LocalNode().Address(), Name: "there"}); err != nil {
				t.Fatal(err)
			}
			select {
			case read := <-got:
				if !bytes.Equal(read, encodeLease(payload)) {
					t.Errorf("memberlist reads %q", read)
				}
			case <-time.After(patience):
				t.Error("memberlist did not read it")
			}
		})
	}
}

// What is no lease with one of our keys is left to memberlist.
func TestLeaseWireLeavesTheRest(t *testing.T) {
	t.Parallel()
	wire := func(cluster string, keys ...[]byte) *leaseWire {
		w, err := newLeaseWire(cluster, keys)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w, plain := wire("shop", testKey), wire("shop")
	good := w.seal([]byte("payload"))
	if got, ok := w.open(good); !ok || string(got) != "payload" {
		t.Fatalf("a good one: %q, %v", got, ok)
	}
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"label only":      good[:len(w.front)],
		"no ciphertext":   good[:len(w.front)+1+sealNonce],
		"cut":             good[:len(good)-1],
		"changed":         append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
		"another version": append(append(bytes.Clone(w.front), 0), good[len(w.front)+1:]...),
		"another key":     wire("shop", []byte("fedcba9876543210")).seal([]byte("payload")),
		"another cluster": wire("shoq", testKey).seal([]byte("payload")),
		"not encrypted":   plain.seal([]byte("payload")),
		"another kind":    w.aeads[0].Seal(append(append(bytes.Clone(w.front), sealVersion), make([]byte, sealNonce)...), make([]byte, sealNonce), []byte{userMessage, byte(kindState), 'x'}, w.label),
		"not ours":        w.aeads[0].Seal(append(append(bytes.Clone(w.front), sealVersion), make([]byte, sealNonce)...), make([]byte, sealNonce), []byte{0, byte(kindLease), 'x'}, w.label),
	} {
		if got, ok := w.open(b); ok {
			t.Errorf("%s: read as %q", name, got)
		}
	}
	if got, ok := plain.open(good); ok {
		t.Errorf("encrypted, where nothing is: read as %q", got)
	}
}

// Without keys a packet is looked at before it is copied. (Not parallel: allocations are counted.)
func TestLeaseWireCopiesLeasesOnly(t *testing.T) {
	w, err := newLeaseWire("shop", nil)
	if err != nil {
		t.Fatal(err)
	}
	packet := w.seal([]byte("payload"))
	got, ok := w.open(packet)
	clear(packet)
	if !ok || string(got) != "payload" {
		t.Errorf("a lease whose packet is used again: %q, %v", got, ok)
	}
	other := append(bytes.Clone(w.front), userMessage, byte(kindState), 'x')
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := w.open(other); ok {
			t.Error("a state is read as a lease")
		}
	}); n != 0 {
		t.Errorf("%v allocations for what is no lease", n)
	}
}
