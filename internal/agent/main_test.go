package agent

import (
	"log/slog"
	"testing"

	"golang.org/x/sys/unix"
)

func testLogger(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func mkfifo(path string) error { return unix.Mkfifo(path, 0o600) }
