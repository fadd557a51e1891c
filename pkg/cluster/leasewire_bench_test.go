package cluster

import "testing"

// One lease datagram on its way out, without the system call: label, nonce, encryption.
func BenchmarkLeaseSeal(b *testing.B) {
	w, payload := benchWire(b)
	b.ReportAllocs()
	for b.Loop() {
		w.seal(payload)
	}
}

// One on its way in.
func BenchmarkLeaseOpen(b *testing.B) {
	w, payload := benchWire(b)
	packet := w.seal(payload)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := w.open(packet); !ok {
			b.Fatal("not opened")
		}
	}
}

func benchWire(b *testing.B) (*leaseWire, []byte) {
	w, err := newLeaseWire("shop", [][]byte{testKey})
	if err != nil {
		b.Fatal(err)
	}
	return w, make([]byte, 70) // one group
}
