package cluster

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCall(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	a, b := nw.start("web1"), nw.start("web2")
	block := make(chan struct{})
	defer close(block)
	b.setHandler(func(ctx context.Context, from, method string, body []byte) ([]byte, error) {
		switch method {
		case "echo":
			return append([]byte(from+" "), body...), nil
		case "block":
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-block:
				return nil, nil
			}
		case "huge":
			return make([]byte, maxBody+1), nil
		}
		return nil, errors.New("unknown method " + method)
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	for range 3 { // the first has to learn the other's incarnation, whether joined or not
		got, err := a.Call(ctx, "web2", "echo", []byte("hello"))
		if err != nil || string(got) != "web1 hello" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	big := bytes.Repeat([]byte("x"), maxBody)
	if got, err := a.Call(ctx, "web2", "echo", big[:maxBody-len("web1 ")]); err != nil || len(got) != maxBody {
		t.Errorf("largest body: %d bytes, %v", len(got), err)
	}
	if _, err := a.Call(ctx, "web2", "echo", append(big, 'x')); !errors.Is(err, errTooLarge) {
		t.Errorf("too large a body: %v", err)
	}
	for method, want := range map[string]string{"nonsense": "unknown method nonsense", "huge": "at most"} {
		_, err := a.Call(ctx, "web2", method, nil)
		var remote RemoteError
		if !errors.As(err, &remote) || remote.Node != "web2" || !strings.Contains(remote.Msg, want) {
			t.Errorf("%s: %v", method, err)
		}
	}

	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := a.Call(short, "web2", "block", nil); !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("a call with 300 ms took %v", took)
	}
	// Nobody listens at db1's address.
	if _, err := a.Call(ctx, "db1", "echo", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := a.Call(ctx, "web9", "echo", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("not configured: %v", err)
	}
}

// Calls need no membership: neither side runs its rejoin loop.
func TestCallWithoutMembership(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.startOnly("web1"), nw.startOnly("web2")
	b.setHandler(func(_ context.Context, _, _ string, body []byte) ([]byte, error) { return body, nil })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := a.Call(ctx, "web2", "echo", []byte("x")); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTooManyCallsAreRefused(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.startOnly("web1"), nw.startOnly("web2")
	entered := make(chan struct{}, maxMadeCalls)
	b.setHandler(func(ctx context.Context, _, _ string, _ []byte) ([]byte, error) {
		entered <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, maxServedCalls)
	for range maxServedCalls {
		go func() { _, err := a.Call(ctx, "web2", "block", nil); ended <- err }()
	}
	for range maxServedCalls {
		select {
		case <-entered:
		case <-time.After(patience):
			t.Fatal("calls do not arrive")
		}
	}
	_, err := a.Call(ctx, "web2", "block", nil)
	var remote RemoteError
	if !errors.As(err, &remote) || !strings.Contains(remote.Msg, "busy") {
		t.Errorf("one more: %v", err)
	}
	cancel()
	for range maxServedCalls {
		if err := <-ended; !errors.Is(err, ErrTimeout) || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled call: %v", err)
		}
	}
}

// Whatever is recorded on the wire and sent again is not executed again.
func TestReplayedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	b := nw.startOnly("web2")
	executed := make(chan string, 10)
	b.setHandler(func(_ context.Context, _, method string, _ []byte) ([]byte, error) {
		executed <- method
		return nil, nil
	})
	recorded := request{ID: 1, From: "web1", FromIncarnation: 7, ToIncarnation: b.incarnation, Method: "move", TimeoutMs: 1000}
	mustReceive := func(r request) {
		t.Helper()
		if err := b.receive(encodeRequest(r)); err != nil {
			t.Fatal(err)
		}
	}
	mustReceive(recorded)
	mustReceive(recorded) // again
	before := recorded
	before.ID, before.FromIncarnation = 9, 6 // web1 has restarted since
	mustReceive(before)
	meant := recorded
	meant.ID, meant.ToIncarnation = 2, b.incarnation-1 // we have restarted since
	mustReceive(meant)
	last := recorded
	last.ID, last.Method = 3, "last"
	mustReceive(last)
	for got := map[string]int{}; got["last"] == 0; {
		select {
		case m := <-executed:
			got[m]++
			if got["move"] > 1 {
				t.Fatal("a request was executed twice")
			}
		case <-time.After(patience):
			t.Fatalf("executed only %v", got)
		}
	}
	if err := b.receive(encodeAnswer(answer{ID: 1, From: "web1"})); err == nil {
		t.Error("an answer that nobody waits for was taken")
	}
}

// A node whose clock went back is told so by those it calls, and goes on.
func TestCallAfterClockWentBack(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.startOnly("web1"), nw.startOnly("web2")
	b.setHandler(func(context.Context, string, string, []byte) ([]byte, error) { return nil, nil })
	b.mu.Lock()
	b.peers["web1"].replay.admit(a.incarnation+1000, 1)
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := a.Call(ctx, "web2", "x", nil); err != nil {
		t.Error(err)
	}
}

func TestReplayWindow(t *testing.T) {
	t.Parallel()
	var w replayWindow
	for i, step := range []struct {
		incarnation, n uint64
		want           refusal
	}{
		{5, 1, ""}, {5, 1, refusedRepeat}, {5, 3, ""}, {5, 2, ""}, {5, 2, refusedRepeat},
		{4, 9, refusedStale},
		{5, 1026, ""}, {5, 2, refusedRepeat}, {5, 3, refusedRepeat}, {5, 4, ""}, {5, 4, refusedRepeat},
		{5, 9000, ""}, {5, 9000 - 1024, refusedRepeat}, {5, 9000 - 1023, ""}, {5, 1026, refusedRepeat},
		{6, 1, ""}, {5, 9001, refusedStale}, {6, 1, refusedRepeat},
		{6, 1<<64 - 1, refusedRepeat}, {6, 2, ""},
	} {
		if got := w.admit(step.incarnation, step.n); got != step.want {
			t.Errorf("step %d: (%d,%d) gives %q, want %q", i, step.incarnation, step.n, got, step.want)
		}
	}
}

func (n *node) setHandler(h func(ctx context.Context, from, method string, body []byte) ([]byte, error)) {
	n.guard.Lock()
	defer n.guard.Unlock()
	n.handler = h
}
