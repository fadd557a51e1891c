package agent

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/realtime"
)

// Chosen by us.
const (
	// Below shortTTL the loop may not wait for what else the agent does at that moment; see processors.
	shortTTL = time.Second
	// manyGroups are so many that to renew and announce all of them is work for more than one processor.
	manyGroups = 100
	// gcPercent halves the heap at which a collection begins, which is 4 MB by default, for a heap of which 1 MB lives. At rest there is
	// a collection in some 20 s, of some milliseconds.
	gcPercent = 50
	// startIsOver is when what only the start needed is given back. The agent has joined its peers by then, and has
	// announced what it took over.
	startIsOver = 6 * time.Second
)

// economise sets what Go's runtime may use. An environment that says otherwise (GOGC, GOMAXPROCS) is obeyed.
func economise(cfg *config.Config) {
	useProcessors(cfg)
	runtime.MemProfileRate = 0 // nobody reads it
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// useProcessors sets how many processors Go's scheduler uses: at the start, and when the config has changed. Set by hand, it
// also keeps the runtime from reading the limits of the control group once a second.
func useProcessors(cfg *config.Config) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(min(processors(cfg, realtime.Wanted()), runtime.NumCPU()))
	}
}

// processors is one where that will do: each further one is a thread that is woken in vain to look for work, and memory in
// caches of its own. With one, the loop waits for whatever else runs, a page or a garbage collection: for some tens of
// milliseconds at the very most, since a goroutine is interrupted after 10 (runtime: forcePreemptNS). A short ttl has no room for that.
// Nor may the loop wait for a program that is being started, which Go does not interrupt until the kernel has found and
// read the file (syscall.forkExec: vfork(2)); and one that is real-time not for the ordinary thread that starts one.
func processors(cfg *config.Config, isRealtime bool) int {
	if cfg.Lease.TTL < shortTTL || len(cfg.Groups) > manyGroups || isRealtime || startsPrograms(cfg) {
		return 2
	}
	return 1
}

// startsPrograms reports whether the config has the agents start any.
func startsPrograms(cfg *config.Config) bool {
	return slices.ContainsFunc(cfg.Checks, func(c config.Check) bool { return len(c.Command) > 0 || c.Unit != "" }) ||
		slices.ContainsFunc(cfg.Groups, func(g config.Group) bool { return len(g.OnActive)+len(g.OnStandby)+len(g.OnFault) > 0 }) ||
		slices.ContainsFunc(cfg.Templates, func(t config.Template) bool { return len(t.Check)+len(t.Reload) > 0 })
}

// afterStart gives back, once, the memory that only the start needed: the heap of reading the config, and the pages of
// the program itself. The kernel maps 64 kB around every page that is touched, and the start touches a little of
// everything, so that nearly the whole program is resident afterwards, most of it for nothing. What is needed is
// mapped again from the page cache at its next use, in a microsecond. On a machine that is short of memory it may come from the
// disk instead, so that an agent that asks for real time keeps its pages.
func afterStart(ctx context.Context, log *slog.Logger) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(startIsOver):
	}
	debug.FreeOSMemory()
	if realtime.Wanted() {
		return nil
	}
	if err := unmapProgram(); err != nil {
		log.Debug("the program's pages stay resident", "error", err)
	}
	return nil
}

// unmapProgram takes the pages of this program's code and constants out of its page table (madvise(2), MADV_DONTNEED).
// Those mappings are as they are in the file, so nothing is lost.
func unmapProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer f.Close()
	for _, r := range constantMappings(f, exe) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.start, r.end-r.start, unix.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// constantMappings returns what of a file is mapped without being writable and has no page that was written to before
// that, as the linker does to what it relocates in a program that may be loaded anywhere (RELRO): such a page is
// not in the file. smaps has the form of proc_pid_smaps(5): "start-end perms offset device inode  path", and then lines as
// "Anonymous: 0 kB".
func constantMappings(smaps io.Reader, file string) (out []mapping) {
	var at mapping
	unwritten := 0 // of the two lines that must say so
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) < 3:
		case f[0] == "Anonymous:" || f[0] == "Swap:":
			if f[1] == "0" {
				unwritten++
			}
			if unwritten == 2 && at.start < at.end {
				out = append(out, at)
				at = mapping{}
			}
		case !strings.HasSuffix(f[0], ":"):
			at, unwritten = constantMapping(f, file), 0
		}
	}
	return out
}

// constantMapping reads the first line about a mapping; nothing, if it is writable or of something else.
func constantMapping(f []string, file string) mapping {
	if len(f) < 6 || strings.Contains(f[1], "w") || strings.Join(f[5:], " ") != file {
		return mapping{}
	}
	from, to, _ := strings.Cut(f[0], "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil {
		return mapping{}
	}
	return mapping{uintptr(start), uintptr(end)}
}
