// Package memory finds out how much memory this process may use before the
// kernel kills it. It changes nothing.
package memory

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Limit returns the smallest limit of the control groups that the process is
// in, in bytes, or 0 if there is none: on other systems than Linux, and where no
// group bounds it to less than the machine has.
func Limit() int64 { return limitIn(os.DirFS("/")) }

// limitIn is Limit below a root.
func limitIn(root fs.FS) int64 {
	groups := groupsOf(root)
	least := int64(0)
	for _, m := range mountsOf(root) {
		file, kind := "memory.max", ""
		if m.version1 {
			file, kind = "memory.limit_in_bytes", "memory"
		}
		group, ok := groups[kind]
		if !ok {
			continue
		}
		// A limit bounds all groups below, so each one on the way up counts.
		for dir := m.below(group); ; dir = path.Dir(dir) {
			if n := number(root, path.Join(m.point, dir, file)); n > 0 && (least == 0 || n < least) {
				least = n
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	if total := machine(root); total > 0 && least >= total {
		return 0
	}
	return least
}

// groupsOf returns the process's control groups by version 1's name of what they
// bound; the one of version 2 is under "".
func groupsOf(root fs.FS) map[string]string {
	groups := make(map[string]string)
	for line := range lines(root, "proc/self/cgroup") { // e.g. 4:memory:/user/1
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		for kind := range strings.SplitSeq(f[1], ",") {
			groups[kind] = f[2]
		}
	}
	return groups
}

// A mount is a mounted hierarchy of control groups.
type mount struct {
	root, point string // what of the hierarchy is mounted, and where
	version1    bool
}

// mountsOf returns the mounted hierarchies that may bound memory.
func mountsOf(root fs.FS) []mount {
	var mounts []mount
	// 35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
	for line := range lines(root, "proc/self/mountinfo") {
		head, tail, ok := strings.Cut(line, " - ")
		h, t := strings.Fields(head), strings.Fields(tail)
		if !ok || len(h) < 5 || len(t) < 3 {
			continue
		}
		m := mount{root: h[3], point: h[4]}
		switch {
		case t[0] == "cgroup2":
			mounts = append(mounts, m)
		case t[0] == "cgroup" && strings.Contains(","+t[2]+",", ",memory,"):
			m.version1 = true
			mounts = append(mounts, m)
		}
	}
	return mounts
}

// below returns where a group is below the mount's point. In a container the
// group's name may be the host's, of which only the container's part is mounted.
func (m mount) below(group string) string {
	if m.root == "/" {
		return path.Clean("/" + group)
	}
	if rest, ok := strings.CutPrefix(group, m.root); ok {
		return path.Clean("/" + rest)
	}
	return "/"
}

// machine returns how much memory the machine has, 0 if that is not known.
func machine(root fs.FS) int64 {
	for line := range lines(root, "proc/meminfo") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// number returns the number in a file, 0 if there is none.
func number(root fs.FS, name string) int64 {
	b, err := fs.ReadFile(root, strings.TrimPrefix(name, "/"))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil { // "max"
		return 0
	}
	return n
}

func lines(root fs.FS, name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return
		}
		for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
			if !yield(s.Text()) {
				return
			}
		}
	}
}
