package agent

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestConstantMappings(t *testing.T) {
	const smaps = `00400000-00e7a000 r-xp 00000000 fe:00 1234                               /usr/bin/hbagent
Size:              10728 kB
Private_Dirty:       128 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00e7a000-01973000 r--p 00a7a000 fe:00 1234                               /usr/bin/hbagent
Anonymous:             0 kB
Swap:                  0 kB
01973000-01974000 r--p 01573000 fe:00 1234                               /usr/bin/hbagent
Anonymous:             4 kB
Swap:                  0 kB
01974000-01975000 r--p 01574000 fe:00 1234                               /usr/bin/hbagent
Anonymous:             0 kB
Swap:                  4 kB
01975000-01976000 r--p 01575000 fe:00 1234                               /usr/bin/hbagent
01976000-019f8000 rw-p 01576000 fe:00 1234                               /usr/bin/hbagent
Anonymous:             0 kB
Swap:                  0 kB
019f8000-03a45000 rw-p 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
7f0000000000-7f0000001000 r--p 00000000 fe:00 99                         /usr/bin/hbagent.old
Anonymous:             0 kB
Swap:                  0 kB
7ffe1eec2000-7ffe1eec4000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
Swap:                  0 kB
`
	got := constantMappings(strings.NewReader(smaps), "/usr/bin/hbagent")
	want := []mapping{{0x400000, 0xe7a000}, {0xe7a000, 0x1973000}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mapping{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const nonsense = "of another form\nx-y r-xp 0 0 0 f\nAnonymous: 0 kB\nSwap: 0 kB"
	if got := constantMappings(strings.NewReader(nonsense), "f"); len(got) != 0 {
		t.Errorf("nonsense: %v", got)
	}
}

// What was written to and made read-only afterwards, as a linker does, is not in the file.
func TestRelocatedPagesStay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, make([]byte, os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(m) }()
	find := func() int {
		t.Helper()
		if err := unix.Mprotect(m, unix.PROT_READ); err != nil {
			t.Fatal(err)
		}
		smaps, err := os.Open("/proc/self/smaps")
		if err != nil {
			t.Fatal(err)
		}
		defer smaps.Close()
		return len(constantMappings(smaps, file))
	}
	if got := find(); got != 1 {
		t.Errorf("%d mappings of the file as it is, want 1", got)
	}
	if err := unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	m[0] = 1
	if got := find(); got != 0 {
		t.Errorf("%d mappings after a page was written to, want none", got)
	}
}

// The program goes on, with fewer of its pages resident.
func TestUnmapProgram(t *testing.T) {
	before := residentFile(t)
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	if after := residentFile(t); after >= before {
		t.Errorf("%d kB of files resident before, %d kB after", before, after)
	}
}

// residentFile is RssFile of this process in kB (proc_pid_status(5)).
func residentFile(t *testing.T) (kb int) {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssFile:"); ok {
			for _, c := range strings.TrimSuffix(strings.TrimSpace(rest), " kB") {
				kb = 10*kb + int(c-'0')
			}
			return kb
		}
	}
	t.Fatal("no RssFile in /proc/self/status")
	return 0
}
