package judge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

// countWithin is how long a node may take to answer, to be counted.
const countWithin = 2 * time.Second

func countsTest() test {
	return test{
		id: "counts", title: "Nodes that are reported, and nodes that answer",
		method: "Side by side: how many nodes were asked for (desired), how many the environment counts (reported), how many processes, containers or tasks are seen to run (running), " +
			fmt.Sprintf("how many say at their own address that they are ready (ready), how many give the right value of a key there within %v (answering), ", countWithin) +
			"and how many are in the ring of all who are ready (owning). Then a node is planted that cannot work, the same is counted (broken), and it is mended: again and again.",
		run: counts,
	}
}

// counts compares what is reported with what answers.
func counts(ctx context.Context, s *session, t *result.Test) error {
	b, breaks := s.driver.(envbench.Breaker)
	if !breaks {
		t.Notes = append(t.Notes, "no broken node was planted: the driver cannot")
	}
	return s.repeat(ctx, "nodes are counted", func(ctx context.Context, count bool) error {
		d, err := s.begin(ctx, s.Deployment)
		if err != nil {
			return err
		}
		defer d.asker.Close()
		whole, err := d.count(ctx)
		if err != nil {
			return err
		}
		if !breaks {
			whole.add(t, "", count)
			return nil
		}
		broken, what, err := d.countBroken(ctx, b)
		var not *envbench.Unsupported
		if errors.As(err, &not) {
			breaks, t.Notes = false, append(t.Notes, not.Error())
		} else if err != nil {
			return fmt.Errorf("a broken node: %w", err)
		}
		whole.add(t, "", count)
		if breaks {
			broken.add(t, "broken/", count)
			if len(t.Notes) == 0 {
				t.Notes = append(t.Notes, "planted: "+what)
			}
		}
		return nil
	})
}

// A tally is what was counted at one time.
type tally struct {
	*envbench.Status
	answering int
}

// count counts.
func (d *deployment) count(ctx context.Context) (c tally, err error) {
	if c.Status, err = d.driver.Status(ctx, d.Deployment.Name); err != nil {
		return c, err
	}
	c.answering = d.answering(ctx, c.Status)
	return c, nil
}

// countBroken plants a node that cannot work, counts, and mends it. It returns what was
// planted, too.
func (d *deployment) countBroken(ctx context.Context, b envbench.Breaker) (c tally, what string, err error) {
	d.tell("a node that cannot work is planted")
	what, err = b.Break(ctx, d.Deployment)
	var not *envbench.Unsupported
	if errors.As(err, &not) {
		return c, what, err
	}
	if err == nil {
		c, err = d.count(ctx)
	}
	mended := b.Mend(ctx, d.Deployment)
	return c, what, errors.Join(err, mended)
}

// answering returns how many nodes give the right value of a key at their own address. In
// AWS, where tasks may be reached by nobody, it is how many are said to be ready.
func (d *deployment) answering(ctx context.Context, now *envbench.Status) (n int) {
	e := envbench.DemoExpect()
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	right := make([]bool, len(now.Members))
	var wg sync.WaitGroup
	for i, m := range now.Members {
		if m.API || m.Addr == "" {
			continue
		}
		wg.Go(func() {
			value, err := d.asker.Value(ctx, m.Addr, e.Group, e.Key)
			right[i] = err == nil && value == e.Value
		})
	}
	wg.Wait()
	for _, r := range right {
		if r {
			n++
		}
	}
	if n == 0 && d.Environment == envbench.AWS {
		return now.Answering
	}
	return n
}

// add adds what was counted, if it counts.
func (c tally) add(t *result.Test, prefix string, count bool) {
	if !count {
		return
	}
	t.AddCount(prefix+"desired", c.Desired)
	t.AddCount(prefix+"reported", c.Reported)
	t.AddCount(prefix+"running", c.Running)
	t.AddCount(prefix+"ready", c.Answering)
	t.AddCount(prefix+"answering", c.answering)
	t.AddCount(prefix+"owning", c.Owning)
}
