package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// ThisMachine describes the machine that this program runs on (Linux; what cannot be read stays empty). LoadBefore is
// the load now; whoever measures sets LoadAfter from Load when done.
func ThisMachine() Machine {
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return string(data)
	}
	m := Machine{
		CPU:        cpuName(read("/proc/cpuinfo")),
		Cores:      runtime.NumCPU(),
		MemoryMB:   memoryMB(read("/proc/meminfo")),
		Kernel:     strings.TrimSpace(read("/proc/sys/kernel/osrelease")),
		System:     strings.Trim(field(read("/etc/os-release"), "PRETTY_NAME", "="), `"`),
		LoadBefore: Load(),
	}
	return m
}

// Load is the mean load of the last minute (proc_loadavg(5)); 0 where it cannot be read.
func Load() float64 {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	load, _, _ := strings.Cut(string(data), " ")
	f, err := strconv.ParseFloat(load, 64)
	if err != nil {
		return 0
	}
	return f
}

// cpuName reads /proc/cpuinfo, whose keys differ between architectures.
func cpuName(info string) string {
	for _, key := range []string{"model name", "Model", "uarch", "isa"} {
		if name := field(info, key, ":"); name != "" {
			return name
		}
	}
	return runtime.GOARCH
}

// memoryMB reads /proc/meminfo, which counts in units of 1024 bytes.
func memoryMB(info string) int {
	kib, err := strconv.Atoi(strings.TrimSuffix(field(info, "MemTotal", ":"), " kB"))
	if err != nil {
		return 0
	}
	return kib / 1024
}

// field returns the value of the first line that has the key.
func field(lines, key, separator string) string {
	for line := range strings.Lines(lines) {
		if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
