package vip

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// guardedBatch is a transaction whose timeouts are computed from the clock.
type guardedBatch struct {
	fill func(b *batch) // makes the transaction, before the clock is read
	done func()         // called for each one that was carried out
	undo []string       // the groups that it makes live
	// tries bounds the repeats of one that a stall overtook; 0: gateTries.
	tries int
}

// guarded carries out a transaction so that it fails when this process stalled between reading the clock and the
// kernel: a token of a few milliseconds is added first, then the clock is read, then
// the token is deleted in the same transaction as the rest. A token that ran out is not there, and the kernel
// refuses everything. It is then tried again with a new look at the clock; ErrStalled after gateTries.
//
// The kernel itself may stand still between looking at the token and counting the timeout (a virtual machine that is
// stopped there). That is seen right after the transaction, and it is repeated, to set the timeouts right. If that
// cannot be done, the groups are shut: ErrGateExpired. So ErrStalled says that nothing has changed.
func (g *NFTGate) guarded(t guardedBatch) error {
	late, err := g.tryGuarded(t)
	if !late {
		return err
	}
	b := &batch{table: g.table}
	for _, name := range t.undo {
		if m, known := g.member(name); known {
			g.silence(b, m)
		}
		delete(g.live, name)
	}
	if shut := g.socket.commit(b); shut != nil {
		g.lost = true // then nothing is known of the tables, and the addresses have to go
		return fmt.Errorf("%w: shutting what was opened too late: %w", ErrGateLost, shut)
	}
	// Without what err wraps: a refusal would be taken for one that changed nothing.
	return fmt.Errorf("%w: the kernel stood still while it carried out the transaction: %v", ErrGateExpired, err)
}

// tryGuarded is guarded without the undoing; late: what was carried out has timeouts that may be too long.
func (g *NFTGate) tryGuarded(t guardedBatch) (late bool, err error) {
	if g.lost {
		return false, ErrGateLost
	}
	for range cmp.Or(t.tries, gateTries) {
		g.token++
		token := []nftElement{{key: nativeUint32(g.token)}}
		second := &batch{table: g.table}
		second.delElements(familyINet, tokens, token)
		t.fill(second)
		token[0].timeout = g.timing.token
		first := &batch{table: g.table}
		first.addElements(familyINet, tokens, 0, token)
		if err := g.socket.commit(first); err != nil {
			if errors.Is(err, unix.ENOENT) { // no such table
				g.lost = true
			}
			return late, g.explain(err)
		}
		read := g.now()
		if err := second.stampAll(read, g.timing); err != nil {
			return late, err
		}
		if g.stall != nil {
			g.stall()
		}
		err := g.socket.commit(second)
		r := new(refusal)
		switch {
		case err == nil:
			t.done()
			if g.now()-read <= g.timing.token {
				return false, nil
			}
			late = true
		case !errors.As(err, &r) || !errors.Is(r.at[0], unix.ENOENT):
			return late, err
		}
	}
	return late, ErrStalled
}
