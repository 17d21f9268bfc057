package judge

import (
	"context"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

func countsTest() test {
	return test{
		id: "counts", title: "Nodes that are reported, and nodes that answer",
		method: "Side by side: how many nodes were asked for, how many the environment counts, how many processes, containers or tasks are seen to run, " +
			"how many say that they are ready at their own address, and how many are in the ring of all who answer. Then once more with a node that cannot work.",
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
	return nil
}

// addCounts adds the counts of a status.
func addCounts(t *result.Test, prefix string, now *envbench.Status) {
	t.AddCount(prefix+"desired", now.Desired)
	t.AddCount(prefix+"reported", now.Reported)
	t.AddCount(prefix+"running", now.Running)
	t.AddCount(prefix+"answering", now.Answering)
	t.AddCount(prefix+"owning", now.Owning)
}
