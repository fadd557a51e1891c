package cluster

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Bounds of probing. Chosen by us.
const (
	maxProbes     = 500              // datagrams to one peer
	maxProbeEvery = time.Second      // between two of them
	bigProbes     = 5                // datagrams as long as can be
	streamProbe   = 2 * time.Second  // to connect, ask and hear: two tries of the kernel to connect
	lastAnswer    = 1 * time.Second  // after the last question, where something is missing
	maxProbeTime  = 10 * time.Second // for everything
)

// ProbeOptions say how thoroughly peers are probed.
type ProbeOptions struct {
	Count int           // datagrams to each peer; 1 to 500, 0: 40
	Every time.Duration // between two of them; 0: 25 ms
}

func (o ProbeOptions) normalize() ProbeOptions {
	o.Count = min(max(cmp.Or(o.Count, 40), 1), maxProbes)
	o.Every = min(max(cmp.Or(o.Every, 25*time.Millisecond), time.Millisecond), maxProbeEvery)
	return o
}

// StreamState is how an attempt to open a stream went.
type StreamState string

// The states of a stream.
const (
	StreamOK          StreamState = "ok"          // opened, and answered with the cluster's key
	StreamRefused     StreamState = "refused"     // the machine says that nobody listens
	StreamTimeout     StreamState = "timeout"     // no answer
	StreamUnreachable StreamState = "unreachable" // the network, or a firewall, says that there is no way
	StreamSilent      StreamState = "silent"      // opened, and closed without an answer
	StreamWrongKey    StreamState = "wrong-key"
	StreamFailed      StreamState = "failed" // anything else; the text says what
)

// Stream is the result of opening a stream and asking on it.
type Stream struct {
	State StreamState `json:"state"`
	Text  string      `json:"text,omitempty"`
}

// PeerProbe is what probing one peer has shown.
type PeerProbe struct {
	Node    string
	Address netip.AddrPort

	Sent, Answered       int             // datagrams of 600 bytes
	BigSent, BigAnswered int             // of 1400 bytes
	RTTs                 []time.Duration // of the answered ones, sorted
	Stream               Stream          // opened from here
	Back                 *Stream         // opened from there, as the peer says; nil: it was not heard
	SendError            string          // why datagrams could not even be sent

	WrongKey     bool   // the peer has no key that opens what is sent to it, or the other way round
	WrongCluster string // the peer says that it is of this cluster

	Answers    bool // the fields below are known
	Version    string
	ConfigHash string
	Generation uint64
	TTL        time.Duration
	// Clock is how far the peer's time of day is ahead of this node's, and ClockError how wrong that may be.
	Clock, ClockError time.Duration
}

// probing is one end that asks: over an agent's own sockets, or over those of somebody without one.
type probing struct {
	sealer func() *sealer
	self   string
	send   func(b []byte, to netip.AddrPort) error
	dial   func(ctx context.Context, to netip.AddrPort) (net.Conn, error)

	mu      sync.Mutex
	waiting map[uint64]chan<- probeReply // at most a few thousand: maxProbes for each peer
}

type probeReply struct {
	at     time.Time
	packet probePacket
}

func newProbing(self string, sealer func() *sealer) *probing {
	return &probing{self: self, sealer: sealer, waiting: map[uint64]chan<- probeReply{}}
}

// take gives an answer or a nack to whoever waits for it. b is copied. Called from a read loop: it does not block.
func (g *probing) take(p probePacket, at time.Time) {
	g.mu.Lock()
	ch := g.waiting[p.id]
	delete(g.waiting, p.id) // the first answer counts
	g.mu.Unlock()
	if ch != nil {
		p.header, p.sealed = slices.Clone(p.header), slices.Clone(p.sealed)
		ch <- probeReply{at, p} // has room for each question
	}
}

func (g *probing) expect(ch chan<- probeReply) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		id := rand.Uint64()
		if _, used := g.waiting[id]; !used && id != 0 {
			g.waiting[id] = ch
			return id
		}
	}
}

func (g *probing) forget(ids []uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		delete(g.waiting, id)
	}
}

// all probes peers at the same time, and returns them in their order.
func (g *probing) all(ctx context.Context, peers []netip.AddrPort, names []string, o ProbeOptions) []PeerProbe {
	o = o.normalize()
	ctx, cancel := context.WithTimeout(ctx, maxProbeTime)
	defer cancel()
	out := make([]PeerProbe, len(peers))
	var wg sync.WaitGroup
	for i := range peers {
		wg.Go(func() { out[i] = g.peer(ctx, names[i], peers[i], o) })
	}
	wg.Wait()
	return out
}

// peer probes one peer: a stream and datagrams at the same time.
func (g *probing) peer(ctx context.Context, name string, to netip.AddrPort, o ProbeOptions) PeerProbe {
	p := PeerProbe{Node: name, Address: to}
	var stream Stream
	var overStream *probeAnswerBody
	var wg sync.WaitGroup
	backKnown := make(chan struct{})
	wg.Go(func() {
		stream, overStream = g.askStream(ctx, to, true)
		if overStream != nil && overStream.Back != nil {
			close(backKnown)
		}
	})
	g.datagrams(ctx, &p, o, backKnown)
	wg.Wait()
	p.Stream = stream
	p.WrongKey = p.WrongKey || stream.State == StreamWrongKey
	if overStream != nil {
		if p.Back == nil {
			p.Back = overStream.Back
		}
		if !p.Answers {
			p.tells(*overStream)
		}
	}
	return p
}

// tells takes over what a peer says of itself, except its clock: that needs a round trip that was measured well.
func (p *PeerProbe) tells(a probeAnswerBody) {
	p.Answers, p.Version, p.ConfigHash, p.Generation, p.TTL = true, a.Version, a.ConfigHash, a.Generation, time.Duration(a.TTLNs)
}

type asked struct {
	at   time.Time
	big  bool
	back bool
}

// datagrams sends the questions and collects the answers. One more question asks for a stream back; its answer
// takes as long as that, so it is repeated for loss and waited for longest.
func (g *probing) datagrams(ctx context.Context, p *PeerProbe, o ProbeOptions, backKnown <-chan struct{}) {
	to := p.Address
	ch := make(chan probeReply, o.Count+2*bigProbes)
	sent := make(map[uint64]asked)
	best := time.Duration(-1)
	tick := time.NewTicker(o.Every)
	defer tick.Stop()
	defer func() {
		ids := make([]uint64, 0, len(sent))
		for id := range sent {
			ids = append(ids, id)
		}
		g.forget(ids)
	}()
	ask := func(a asked) {
		id := g.expect(ch)
		size := smallProbe
		if a.big {
			size = maxProbe
		}
		b := g.sealer().seal(probeAsk, id, probeAskBody{From: g.self, Back: a.back}, size)
		a.at = time.Now()
		sent[id] = a
		if err := g.send(b, to); err != nil {
			p.SendError = err.Error()
		}
		switch {
		case a.big:
			p.BigSent++
		case !a.back:
			p.Sent++
		}
	}
	var end <-chan time.Time // set with the last question
	enough := false          // the stream back is known, or was waited for long enough
	longer := false          // it is waited for beyond the last answer
	for n := 0; ; {
		whole := p.Answered == p.Sent && p.BigAnswered == p.BigSent
		if end != nil && whole && (enough || p.Back != nil || p.Answered == 0) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-backKnown:
			backKnown, enough = nil, true
		case <-end:
			if longer || enough || p.Back != nil || p.Answered == 0 {
				return
			}
			longer, end = true, time.After(streamProbe)
		case r := <-ch:
			if a, ok := sent[r.packet.id]; ok {
				best = p.answered(g.sealer(), a, r, best)
			}
		case <-tick.C:
			if n == o.Count {
				continue
			}
			if n < bigProbes {
				ask(asked{big: true})
			}
			if n%10 == 0 && n < 30 && p.Back == nil {
				ask(asked{back: true})
			}
			ask(asked{})
			if n++; n == o.Count {
				end = time.After(lastAnswer)
			}
		}
	}
}

// answered counts an answer, and returns the shortest round trip so far, by which the clocks are compared.
func (p *PeerProbe) answered(s *sealer, a asked, r probeReply, best time.Duration) time.Duration {
	if r.packet.kind == probeNack {
		switch r.packet.reason {
		case nackCluster:
			p.WrongCluster = r.packet.cluster
		case nackKey:
			p.WrongKey = true
		}
		return best
	}
	var body probeAnswerBody
	if err := s.open(r.packet, &body); err != nil {
		p.WrongKey = true
		return best
	}
	if a.back {
		if body.Back != nil {
			p.Back = body.Back
		}
		return best
	}
	if a.big {
		p.BigAnswered++
		return best
	}
	rtt := r.at.Sub(a.at)
	p.Answered++
	i, _ := slices.BinarySearch(p.RTTs, rtt)
	p.RTTs = slices.Insert(p.RTTs, i, rtt)
	p.tells(body)
	if best < 0 || rtt < best {
		best = rtt
		p.Clock = time.Unix(0, body.WallNs).Sub(a.at.Round(0)) - rtt/2
		p.ClockError = rtt / 2
	}
	return best
}

// askStream opens a stream to a peer and asks on it, within streamProbe (twice that with back).
func (g *probing) askStream(ctx context.Context, to netip.AddrPort, back bool) (Stream, *probeAnswerBody) {
	limit := streamProbe
	if back {
		limit *= 2
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	connect, done := context.WithTimeout(ctx, streamProbe)
	defer done()
	conn, err := g.dial(connect, to)
	if err != nil {
		return streamError(err), nil
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return streamError(err), nil
		}
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	ask := g.sealer().seal(probeAsk, rand.Uint64(), probeAskBody{From: g.self, Back: back}, 0)
	if err := writeProbe(conn, ask); err != nil {
		return streamError(err), nil
	}
	b, err := readProbe(conn)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Stream{StreamSilent, "the other end has closed it without an answer"}, nil
	}
	if err != nil {
		return streamError(err), nil
	}
	p, err := parseProbe(b)
	if err != nil {
		return streamError(err), nil
	}
	var body probeAnswerBody
	switch {
	case p.kind == probeNack && p.reason == nackCluster:
		return Stream{StreamFailed, fmt.Sprintf("the other end is of cluster %q", p.cluster)}, nil
	case p.kind == probeNack:
		return Stream{State: StreamWrongKey}, nil
	}
	if err := g.sealer().open(p, &body); err != nil {
		return Stream{State: StreamWrongKey}, nil
	}
	return Stream{State: StreamOK}, &body
}

// streamError sorts an error of connecting or reading.
func streamError(err error) Stream {
	s := Stream{State: StreamFailed, Text: err.Error()}
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		s.State = StreamRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		s.State = StreamUnreachable
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		s.State, s.Text = StreamTimeout, "no answer in time"
	}
	return s
}

// On a stream a probe comes behind the magic and its length (2 bytes, big endian).
func writeProbe(w io.Writer, b []byte) error {
	out := binary.BigEndian.AppendUint16([]byte(probeMagic), uint16(len(b)))
	_, err := w.Write(append(out, b...))
	return err
}

func readProbe(r io.Reader) ([]byte, error) {
	var head [len(probeMagic) + 2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(head[len(probeMagic):])
	if !isProbe(head[:]) || n > maxProbe {
		return nil, fmt.Errorf("probe: %w", errMalformed)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
