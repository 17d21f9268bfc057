package judge

import (
	"context"
	"fmt"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

func fidelityTest() test {
	return test{
		id: "fidelity", title: "What it really does",
		method: fmt.Sprintf("Each call and each behaviour that the deployment relies on is tried by itself, and then looked at: has it come about? "+
			"Limits are read from the container, a health check is judged by a process that hangs, a stop timeout by one that does not end. "+
			"All of it is tried %d times, from nothing each time and without a warm-up, for a verdict is no time: it is done if it was done each time.", fewest),
		run: fidelity,
	}
}

// fidelity tries what deployments rely on.
func fidelity(ctx context.Context, s *session, t *result.Test) error {
	p, ok := s.driver.(envbench.FidelityProber)
	if !ok {
		return &envbench.Unsupported{What: "trying what deployments rely on", Evidence: "the driver has no trials"}
	}
	times := min(s.Times, fewest)
	var rounds [][]result.Fact
	for i := range times {
		if _, err := s.up(ctx); err != nil {
			return err
		}
		var facts []result.Fact
		err := p.Fidelity(ctx, s.Deployment, func(f result.Fact) {
			s.tell("%d of %d: %s: %s (%s)", i+1, times, f.Name, f.Verdict, f.Evidence)
			facts = append(facts, f)
		})
		rounds = append(rounds, facts)
		t.Facts = merged(rounds)
		if err != nil {
			return fmt.Errorf("%d of %d, after %d trials: %w", i+1, times, len(facts), err)
		}
	}
	return nil
}
