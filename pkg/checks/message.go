package checks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// Chosen by us.
const (
	// maxMessage bounds a message in bytes: it travels in every node's gossiped
	// state, which has to fit a datagram of 1200 bytes with several checks.
	maxMessage = 200
	ellipsis   = "…"
)

func pass(format string, args ...any) Result {
	return Result{OK: true, Message: oneLine(fmt.Sprintf(format, args...))}
}

func fail(format string, args ...any) Result {
	return Result{Message: oneLine(fmt.Sprintf(format, args...))}
}

// oneLine makes s fit for a terminal, a log and a datagram: printable UTF-8,
// runs of anything else become one space, at most maxMessage bytes.
func oneLine(s string) string {
	// A message of a thousand runes is cut anyway; do not walk through more.
	const enough = 4 * maxMessage
	cut := len(s) > enough
	if cut {
		s = s[:enough]
	}
	var b strings.Builder
	gap := false
	for _, r := range s {
		if r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte(' ')
		}
		gap = false
		b.WriteRune(r)
	}
	if !cut && b.Len() <= maxMessage {
		return b.String()
	}
	return truncate(b.String(), maxMessage-len(ellipsis)) + ellipsis
}

// withSuffix appends suffix, at the cost of message's end if need be.
func withSuffix(message, suffix string) string {
	if len(message)+len(suffix) <= maxMessage {
		return message + suffix
	}
	return truncate(message, maxMessage-len(suffix)-len(ellipsis)) + ellipsis + suffix
}

// truncate cuts s to at most n bytes without splitting a rune.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func noAnswer(timeout time.Duration) string { return fmt.Sprintf("no answer within %v", timeout) }

// expired says whether ctx has ended. Its deadline counts too: a socket that was
// given the same deadline may notice a moment before the context's timer.
func expired(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// netFailure puts an error of a network conversation with where into words.
// Errors of the net package repeat the operation, both addresses and the system
// call; a person wants to read the last part.
func netFailure(ctx context.Context, where string, err error) Result {
	var (
		dns *net.DNSError
		op  *net.OpError
	)
	switch {
	case expired(ctx):
		return fail("no answer from %s in time", where)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail("connection refused at %s", where)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fail("connection reset by %s", where)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fail("%s closed the connection before its answer was complete", where)
	case errors.Is(err, syscall.ENOENT):
		return fail("no socket at %s", where)
	case errors.Is(err, syscall.EACCES):
		return fail("no permission to connect to %s", where)
	case errors.As(err, &dns):
		return fail("name %q does not resolve: %s", dns.Name, dns.Err)
	case errors.As(err, &op):
		return fail("%s: %v", where, op.Err)
	}
	return fail("%s: %v", where, err)
}
