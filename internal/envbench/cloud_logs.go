package envbench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// lastWordsLines is how much of a failed process's log an error shows.
const lastWordsLines = 12

// Logs implements Driver.
func (c *cloud) Logs(ctx context.Context, name string, w io.Writer, lines int) error {
	v, err := c.view(ctx, name)
	if err != nil {
		return err
	}
	defer v.close()
	tasks, err := v.running(ctx)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		text, err := c.taskLog(ctx, name, t.service, t.id, lines)
		if err != nil {
			return err
		}
		for _, line := range text {
			if _, err := fmt.Fprintf(w, "%s %s | %s\n", t.service, t.id[:min(8, len(t.id))], line); err != nil {
				return err
			}
		}
	}
	return nil
}

// taskLog returns the last lines that a task has logged, as the logs' API has them.
func (c *cloud) taskLog(ctx context.Context, name, service, id string, lines int) ([]string, error) {
	group, stream := logGroup(name, service), logPrefix+"/"+containerName+"/"+id
	out, err := c.logs.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{
		LogGroupName: &group, LogStreamName: &stream, Limit: aws.Int32(int32(lines)), StartFromHead: aws.Bool(false),
	})
	var none *logtypes.ResourceNotFoundException
	switch {
	case errors.As(err, &none):
		return nil, nil
	case err != nil:
		return nil, c.explain("logs:GetLogEvents", err)
	}
	var all []string
	for _, e := range out.Events {
		all = append(all, aws.ToString(e.Message))
	}
	return all, nil
}

// dockerLog returns the last lines of a task's container, where this machine's Docker has
// it.
func dockerLog(ctx context.Context, id string, lines int) []string {
	containers, err := docker(ctx, nil, "ps", "--all", "--quiet", "--filter", "name="+id[:min(8, len(id))])
	if err != nil || containers == "" {
		return nil
	}
	first, _, _ := strings.Cut(containers, "\n")
	text, err := dockerLogs(ctx, first, lines)
	if err != nil {
		return nil
	}
	return text
}

// lastWords returns what the last task that failed has to say: why it was stopped, and
// what it has logged.
func (v *view) lastWords(ctx context.Context, begun time.Time) string {
	stopped, err := v.describe(ctx, types.DesiredStatusStopped)
	if err != nil {
		return fmt.Sprintf(" (and what has failed cannot be found out: %v)", err)
	}
	slices.SortFunc(stopped, func(a, b types.Task) int {
		return cmp.Compare(aws.ToTime(b.StoppedAt).UnixNano(), aws.ToTime(a.StoppedAt).UnixNano())
	})
	for _, t := range stopped {
		code := t.StopCode
		if aws.ToTime(t.CreatedAt).Before(begun.Add(-time.Second)) || code != types.TaskStopCodeEssentialContainerExited && code != types.TaskStopCodeTaskFailedToStart {
			continue
		}
		service, id := v.serviceOf(aws.ToString(t.Group)), last(aws.ToString(t.TaskArn))
		text := fmt.Sprintf("\ntask %s of service %s was stopped: %s", id, service, aws.ToString(t.StoppedReason))
		if len(t.Containers) > 0 && t.Containers[0].ExitCode != nil {
			text += fmt.Sprintf(", exit status %d", *t.Containers[0].ExitCode)
		}
		return text + v.words(ctx, service, id)
	}
	for _, t := range v.tasks { // none was stopped: one may hang
		if t.status != "RUNNING" {
			return fmt.Sprintf("\ntask %s of service %s is %s: is its image in the registry?", t.id, t.service, t.status)
		}
	}
	return ""
}

// words returns the last lines that a task has logged, which may take a moment to arrive.
func (v *view) words(ctx context.Context, service, id string) string {
	var lines []string
	wait, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = poll(wait, func(ctx context.Context) (bool, error) { // without any, Docker is asked
		var err error
		lines, err = v.c.taskLog(ctx, v.name, service, id, lastWordsLines)
		return len(lines) > 0, err
	})
	if len(lines) == 0 {
		lines = dockerLog(ctx, id, lastWordsLines)
	}
	if len(lines) == 0 {
		return "; it has logged nothing"
	}
	return "; its last lines:\n  " + strings.Join(lines, "\n  ")
}
