package result

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// Machine is where something was measured.
type Machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"` // 0: unknown
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// ThisMachine describes the machine that the program runs on. What the system
// does not tell stays empty.
func ThisMachine() Machine {
	return Machine{
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

const own = "github.com/geecache/geecache"

// Modules returns the version of ours, which lies in the repository of dir, and
// those of the named modules as they are compiled in.
func Modules(dir string, paths ...string) []Module {
	found := []Module{{own, revision(dir)}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return found
	}
	for _, dep := range info.Deps {
		if slices.Contains(paths, dep.Path) {
			found = append(found, Module{dep.Path, dep.Version})
		}
	}
	return found
}

// revision returns the commit of a repository: ours is measured as it lies
// there, and has no version of its own. What a run itself writes is no
// modification.
func revision(dir string) string {
	commit, err := exec.Command("git", "-C", dir, "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "(unknown commit)"
	}
	name := strings.TrimSpace(string(commit))
	changed, err := exec.Command("git", "-C", dir, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":!results", ":!RESULTS.md").Output()
	if err != nil || len(changed) > 0 {
		return name + " (modified)"
	}
	return name
}

// Server returns a program of the system with the version that it tells when it
// is called with flag: the first word that is mark with a number after it.
func Server(program, flag, mark string) Module {
	out, err := exec.Command(program, flag).Output()
	if err != nil {
		return Module{program, "not installed"}
	}
	for _, w := range strings.Fields(string(out)) {
		if v, ok := strings.CutPrefix(w, mark); ok && v != "" && v[0] >= '0' && v[0] <= '9' {
			return Module{program, v}
		}
	}
	return Module{program, strings.TrimSpace(string(out))}
}
