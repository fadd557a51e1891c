package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Given by the Monitoring Plugins Development Guidelines, "Plugin Return Codes".
const (
	pluginOK       = 0
	pluginWarning  = 1
	pluginCritical = 2
	pluginUnknown  = 3
)

// execCheck runs a Nagios plugin, or any program that keeps that convention.
// WARNING passes, with its message: the service works, and the address stays.
type execCheck struct{ argv []string }

func newExec(s Spec) (Checker, error) {
	if len(s.Command) == 0 || s.Command[0] == "" {
		return nil, errors.New("command is missing")
	}
	// The agent's search path is nobody's intention.
	if !filepath.IsAbs(s.Command[0]) {
		return nil, fmt.Errorf("command %q is not an absolute path", s.Command[0])
	}
	return &execCheck{slices.Clone(s.Command)}, nil
}

func (c *execCheck) Check(ctx context.Context) Result {
	out, err := runCommand(ctx, c.argv)
	if err != nil {
		return fail("%v", err)
	}
	text := pluginText(out)
	switch out.code {
	case pluginOK:
		return pass("%s", orElse(text, "OK"))
	case pluginWarning:
		return pass("warning: %s", orElse(text, "no output"))
	case pluginCritical:
		return fail("critical: %s", orElse(text, "no output"))
	case pluginUnknown:
		return fail("unknown: %s", orElse(text, "no output"))
	}
	return fail("%s (%s)", orElse(text, "no output"), out.end)
}

// pluginText is the first line of the output without performance data; a
// program that only complains is heard too.
func pluginText(out outcome) string {
	text, _, _ := bytes.Cut(firstLine(out.stdout), []byte("|"))
	if text = bytes.TrimSpace(text); len(text) > 0 {
		return string(text)
	}
	return string(firstLine(out.stderr))
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
