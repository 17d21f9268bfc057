package result

import (
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
)

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
