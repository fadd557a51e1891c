package agent

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConstantMappings(t *testing.T) {
	const maps = `00400000-00e7a000 r-xp 00000000 fe:00 1234                               /usr/bin/hbagent
00e7a000-01973000 r--p 00a7a000 fe:00 1234                               /usr/bin/hbagent
01973000-019f8000 rw-p 01573000 fe:00 1234                               /usr/bin/hbagent
019f8000-03a45000 rw-p 00000000 00:00 0
c000000000-c000800000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 fe:00 99                         /usr/bin/hbagent.old
7ffe1eec2000-7ffe1eec4000 r-xp 00000000 00:00 0                          [vdso]
`
	got := constantMappings(strings.NewReader(maps), "/usr/bin/hbagent")
	want := []mapping{{0x400000, 0xe7a000}, {0xe7a000, 0x1973000}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mapping{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := constantMappings(strings.NewReader("of another form\nx-y r-xp 0 0 0 f"), "f"); len(got) != 0 {
		t.Errorf("nonsense: %v", got)
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
