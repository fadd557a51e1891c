package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	state := NodeState{Node: "web1", Incarnation: 1, Seq: 2, Generation: 3}
	raw := mustJSON(state)
	req := request{ID: 1, From: "web1", FromIncarnation: 1<<64 - 1, ToIncarnation: 3, Method: "m", TimeoutMs: 4, body: []byte("body")}
	ans := answer{ID: 1, ToIncarnation: 2, From: "web2", Error: "no", Refused: refusedBusy, Incarnation: 3, Seen: 4, body: []byte{}}
	for _, tc := range []struct {
		b    []byte
		want any
	}{
		{encodeLease([]byte("x")), leaseMessage("x")},
		{encodeRawState(raw), stateMessage{state: state, raw: raw}},
		{encodePull(pullMessage{From: "web1"}), pullMessage{From: "web1"}},
		{encodeLeave(leaveMessage{Node: "web1", Instance: 7}), leaveMessage{Node: "web1", Instance: 7}},
		{encodeRequest(req), req},
		{encodeAnswer(ans), ans},
	} {
		got, err := decode(tc.b)
		if err != nil {
			t.Errorf("%T: %v", tc.want, err)
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(stateMessage{}, request{}, answer{}), cmpopts.EquateComparable()); diff != "" {
			t.Errorf("%T (-want +got):\n%s", tc.want, diff)
		}
	}
	long, err := decode(encodeAnswer(answer{Error: strings.Repeat("\x00", 1<<20)}))
	if err != nil || len(long.(answer).Error) > maxErrorText+3 {
		t.Errorf("a long error does not pass cut: %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":          {nil, errEmpty},
		"unknown kind":     {[]byte{99, 1, 2}, errUnknownKind},
		"large lease":      {encodeLease(make([]byte, maxLease+1)), errTooLarge},
		"large state":      {encodeRawState(make([]byte, maxState+1)), errTooLarge},
		"state of nobody":  {encodeRawState([]byte(`{"incarnation":1}`)), errMalformed},
		"no incarnation":   {encodeRawState([]byte(`{"node":"a"}`)), errMalformed},
		"last incarnation": {encodeRawState([]byte(`{"node":"a","incarnation":18446744073709551615}`)), errMalformed},
		"no state":         {encodeRawState([]byte("][")), errMalformed},
		"large leave":      {encodeLeave(leaveMessage{Node: strings.Repeat("x", 2000)}), errTooLarge},
		"short request":    {[]byte{byte(kindRequest), 0}, errMalformed},
		"header cut":       {[]byte{byte(kindRequest), 0, 9, '{', '}'}, errMalformed},
		"request 0":        {encodeRequest(request{Method: "m", TimeoutMs: 1}), errMalformed},
		"no method":        {encodeRequest(request{ID: 1, TimeoutMs: 1}), errMalformed},
		"no time":          {encodeRequest(request{ID: 1, Method: "m"}), errMalformed},
		"large answer":     {encodeAnswer(answer{body: make([]byte, maxBody+1)}), errTooLarge},
	} {
		if _, err := decode(tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encodeLease([]byte("x")))
	f.Add(encodeRawState(mustJSON(NodeState{Node: "web1", Incarnation: 1, Seq: 2, Groups: []GroupState{{Name: "g"}}})))
	f.Add(encodePull(pullMessage{From: "web1"}))
	f.Add(encodeLeave(leaveMessage{Node: "web1", Instance: 7}))
	f.Add(encodeRequest(request{ID: 1, From: "web1", Method: "m", TimeoutMs: 4, body: []byte("body")}))
	f.Add(encodeAnswer(answer{ID: 1, Error: "no"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		// What is accepted keeps the promises the rest of the package relies on.
		switch m := m.(type) {
		case stateMessage:
			if m.state.Node == "" || m.state.Incarnation == 0 || m.state.Incarnation+1 == 0 || len(m.raw) > maxState {
				t.Errorf("accepted %+v", m.state)
			}
		case request:
			if m.ID == 0 || m.Method == "" || m.TimeoutMs <= 0 || len(m.body) > maxBody {
				t.Errorf("accepted %+v", m)
			}
			again, err := decode(encodeRequest(m))
			if diff := cmp.Diff(m, again, cmp.AllowUnexported(request{})); err != nil || diff != "" {
				t.Errorf("encoded and decoded: %v (-first +second):\n%s", err, diff)
			}
		case answer:
			if len(m.body) > maxBody {
				t.Errorf("accepted a body of %d bytes", len(m.body))
			}
		}
	})
}
