package bench

import "testing"

func TestMachineFiles(t *testing.T) {
	const cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2GHz\n\nprocessor\t: 1\nmodel name\t: Another\n"
	if got := cpuName(cpuinfo); got != "A CPU @ 2GHz" {
		t.Errorf("cpu %q", got)
	}
	if got := memoryMB("MemTotal:       25165824 kB\nMemFree: 1 kB\n"); got != 24576 {
		t.Errorf("memory %d MB", got)
	}
	if got := memoryMB(""); got != 0 {
		t.Errorf("memory of an empty file: %d MB", got)
	}
	m := ThisMachine()
	if m.Cores < 1 || m.MemoryMB < 1 || m.Kernel == "" || m.CPU == "" {
		t.Errorf("this machine: %+v", m)
	}
}
