package envbench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// commandEnds is how long a command has to end when it is interrupted.
const commandEnds = 10 * time.Second

// A Command is a program that runs until its context ends: then it is interrupted with all
// that it has started, and what is left of that after commandEnds is killed. It is in a
// process group of its own, so that the Ctrl-C of a terminal reaches this process alone,
// which knows in which order things end: a second one must not end what cleans up.
type Command struct {
	*exec.Cmd
	ctx context.Context
}

// NewCommand returns a command. Run it with Output or CombinedOutput.
func NewCommand(ctx context.Context, name string, args ...string) *Command {
	c := &Command{exec.CommandContext(ctx, name, args...), ctx}
	c.SysProcAttr = grouped()
	c.Cancel = func() error { return interruptGroup(c.Process) }
	c.WaitDelay = commandEnds
	return c
}

// Output is that of package exec.
func (c *Command) Output() ([]byte, error) {
	// What is interrupted with its parent is so with the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := c.Cmd.Output()
	return out, c.ended(err)
}

// CombinedOutput is that of package exec.
func (c *Command) CombinedOutput() ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := c.Cmd.CombinedOutput()
	return out, c.ended(err)
}

// ended returns why the command has failed: if it was interrupted, who did it, and not how
// it ended then.
func (c *Command) ended(err error) error {
	if err == nil || c.ctx.Err() == nil {
		return err
	}
	if c.Process != nil {
		killGroup(c.Process) // what it has started may be there still
	}
	return context.Cause(c.ctx)
}

// TempDir makes a folder for temporary files. Its name says whose it is, for RemoveTemp.
func TempDir(what string) (string, error) {
	return os.MkdirTemp("", fmt.Sprintf("geecache-%d-%s-", os.Getpid(), what))
}

// RemoveTemp removes the folders that a process has made by TempDir below a folder, ends what
// works in them still, and returns which there were.
func RemoveTemp(dir string, pid int) (removed []string, err error) {
	all, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("geecache-%d-*", pid)))
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		endUsers(one)
		if err := os.RemoveAll(one); err != nil {
			return removed, err
		}
		removed = append(removed, one)
	}
	return removed, nil
}
