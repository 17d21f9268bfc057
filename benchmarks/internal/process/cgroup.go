package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Cgroup is a control group that bounds the memory of the processes in it.
type Cgroup struct {
	dir   string
	files cgroupFiles
}

// cgroupFiles are the names of what is read and written, in each version.
type cgroupFiles struct{ limit, peak, events string }

// controllers returns the directories in which a group can be made, and how its
// files are called there: version 2, then version 1.
func controllers() map[string]cgroupFiles {
	return map[string]cgroupFiles{
		"/sys/fs/cgroup":        {"memory.max", "memory.peak", "memory.events"},
		"/sys/fs/cgroup/memory": {"memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"},
	}
}

// NewCgroup makes a control group for at most so many bytes, without swap.
func NewCgroup(name string, bytes int64) (*Cgroup, error) {
	var errs []error
	for root, files := range controllers() {
		c := &Cgroup{filepath.Join(root, name), files}
		if err := os.Mkdir(c.dir, 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		// Without this file the directory is no group that bounds memory.
		err := c.write(files.limit, strconv.FormatInt(bytes, 10))
		if err == nil {
			// It is absent where the kernel does not count swap, which then has
			// to be off.
			_ = c.write("memory.swap.max", "0")
			return c, nil
		}
		errs = append(errs, err, os.Remove(c.dir))
	}
	return nil, fmt.Errorf("a control group that bounds memory cannot be made (run as root on Linux): %w", errors.Join(errs...))
}

func (c *Cgroup) write(file, text string) error {
	f, err := os.OpenFile(filepath.Join(c.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Dir returns the directory that Enter takes.
func (c *Cgroup) Dir() string { return c.dir }

// Enter moves this process into the group of a directory.
func Enter(dir string) error {
	c := Cgroup{dir: dir}
	return c.write("cgroup.procs", strconv.Itoa(os.Getpid()))
}

// Peak returns the most memory that the group has had, in bytes.
func (c *Cgroup) Peak() (int64, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, c.files.peak))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// Kills returns how many processes of the group the kernel has killed.
func (c *Cgroup) Kills() (int64, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, c.files.events))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s/%s does not tell of kills", c.dir, c.files.events)
}

// Remove removes the group, which no process may be in.
func (c *Cgroup) Remove() error { return os.Remove(c.dir) }
