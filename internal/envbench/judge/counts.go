package judge

import (
	"context"
	"errors"
	"fmt"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

func countsTest() test {
	return test{
		id: "counts", title: "Nodes that are reported, and nodes that answer",
		method: "Side by side: how many nodes were asked for, how many the environment counts, how many processes, containers or tasks are seen to run, " +
			"how many say that they are ready at their own address, and how many are in the ring of all who answer. Then the same with nodes planted that cannot work.",
		run: counts,
	}
}

// counts compares what is reported with what answers.
func counts(ctx context.Context, s *session, t *result.Test) error {
	now, err := s.up(ctx)
	if err != nil {
		return err
	}
	addCounts(t, "", now)
	b, ok := s.driver.(envbench.Breaker)
	if !ok {
		t.Notes = append(t.Notes, "no broken node was planted: the driver cannot")
		return nil
	}
	s.tell("a node that cannot work is planted")
	what, err := b.Break(ctx, s.Deployment)
	var not *envbench.Unsupported
	switch {
	case errors.As(err, &not):
		t.Notes = append(t.Notes, not.Error())
		return nil
	case err == nil:
		t.Notes = append(t.Notes, "planted: "+what)
		if now, err = s.driver.Status(ctx, s.Deployment.Name); err == nil {
			addCounts(t, "broken/", now)
		}
	}
	mended := b.Mend(ctx, s.Deployment)
	if err = errors.Join(err, mended); err != nil {
		return fmt.Errorf("a broken node: %w", err)
	}
	_, err = s.up(ctx)
	return err
}

// addCounts adds the counts of a status.
func addCounts(t *result.Test, prefix string, now *envbench.Status) {
	t.AddCount(prefix+"desired", now.Desired)
	t.AddCount(prefix+"reported", now.Reported)
	t.AddCount(prefix+"running", now.Running)
	t.AddCount(prefix+"answering", now.Answering)
	t.AddCount(prefix+"owning", now.Owning)
}
