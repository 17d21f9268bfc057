// Package machine describes the machine that something is measured on, for the files
// that hold the results.
package machine

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// An Info says where something was measured.
type Info struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"` // 0: unknown
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// This describes the machine that the program runs on. What the system
// does not tell stays empty.
func This() Info {
	return Info{
		CPU: field("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(), Memory: memory(),
		OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: kernel(), Go: runtime.Version(),
	}
}

// field returns the first value of a name in a file of "name: value" lines.
func field(file, name string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(data) {
		key, value, ok := strings.Cut(string(line), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func memory() int64 {
	number, _, _ := strings.Cut(field("/proc/meminfo", "MemTotal"), " ")
	kb, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}

func kernel() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// LoadAverage returns the load of the last minute, or 0 if it is unknown.
func LoadAverage() float64 {
	f, err := os.Open("/proc/loadavg")
	if err != nil {
		return 0
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	first, _, _ := strings.Cut(line, " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load
}
