package envbench

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// Kill implements Killer.
func (l *local) Kill(ctx context.Context, name string, m Member) (time.Time, error) {
	return l.change(ctx, name, "kill", m)
}

// change does one of the cluster's commands to a member, and returns when it began.
func (l *local) change(ctx context.Context, name, op string, m Member) (time.Time, error) {
	state, err := l.recall(ctx, name)
	if err != nil {
		return time.Time{}, err
	}
	begun := time.Now()
	_, err = l.run(ctx, "cluster", op, fmt.Sprintf("--port=%d", state.Port), m.task)
	return begun, err
}

// Replaces implements Killer: a process that has ended is not started again.
func (*local) Replaces() bool { return false }

// Kill implements Killer: it kills the container's process, because Docker would not start
// again what its own command has killed.
func (c *composed) Kill(ctx context.Context, name string, m Member) (time.Time, error) {
	all, err := c.containers(ctx, name)
	if err != nil {
		return time.Time{}, err
	}
	for _, in := range all {
		if in.ID != m.task {
			continue
		}
		begun := time.Now()
		p, err := os.FindProcess(in.PID)
		if err == nil && in.PID > 0 {
			err = p.Kill()
		}
		if err != nil || in.PID == 0 {
			return begun, &Unsupported{"killing a container's process", fmt.Sprintf(
				"process %d of %s could not be killed from here (%s, user %d): %v; Docker's own kill would be taken for the user's wish, and nothing started again",
				in.PID, in.Name, runtime.GOOS, os.Getuid(), err)}
		}
		return begun, nil
	}
	return time.Time{}, fmt.Errorf("there is no container %s any more", m.task)
}

// Replaces implements Killer: the compose file has containers restarted.
func (*composed) Replaces() bool { return true }

// Kill implements Killer. In an emulator the container is killed, which it is not told of.
// AWS has a call to stop a task, which asks the process to end first.
func (c *cloud) Kill(ctx context.Context, name string, m Member) (time.Time, error) {
	begun := time.Now()
	if c.emulated {
		ids, err := docker(ctx, nil, "ps", "--quiet", "--filter", "name="+m.task[:min(8, len(m.task))])
		if err != nil {
			return begun, err
		}
		first, _, _ := strings.Cut(ids, "\n")
		if first == "" {
			return begun, &Unsupported{"killing a task", fmt.Sprintf("this machine's Docker has no container of task %s: is the emulator another machine's?", m.task)}
		}
		text, err := docker(ctx, nil, "inspect", "--format", "{{.State.Pid}}", first)
		if err != nil {
			return begun, err
		}
		begun = time.Now()
		if pid, err := strconv.Atoi(text); err == nil && pid > 0 { // at once, where this user may
			if p, err := os.FindProcess(pid); err == nil && p.Kill() == nil {
				return begun, nil
			}
		}
		_, err = docker(ctx, nil, "kill", "--signal=KILL", first)
		return begun, err
	}
	_, err := c.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: &name, Task: &m.task, Reason: aws.String("geecache env bench: recovery")})
	return begun, c.explain("ecs:StopTask", err)
}

// Replaces implements Killer: a service starts another task.
func (*cloud) Replaces() bool { return true }
