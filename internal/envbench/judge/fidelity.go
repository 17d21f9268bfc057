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
		method: "Each call and each behaviour that the deployment relies on is tried by itself, and then looked at: has it come about? " +
			"Limits are read from the container, a health check is judged by a process that hangs, a stop timeout by one that does not end.",
		run: fidelity,
	}
}

// fidelity tries what deployments rely on.
func fidelity(ctx context.Context, s *session, t *result.Test) error {
	p, ok := s.driver.(envbench.FidelityProber)
	if !ok {
		return &envbench.Unsupported{What: "trying what deployments rely on", Evidence: "the driver has no trials"}
	}
	if _, err := s.up(ctx); err != nil {
		return err
	}
	err := p.Fidelity(ctx, s.Deployment, func(f result.Fact) {
		s.tell("%s: %s (%s)", f.Name, f.Verdict, f.Evidence)
		t.Facts = append(t.Facts, f)
	})
	if err != nil {
		return fmt.Errorf("after %d trials: %w", len(t.Facts), err)
	}
	return nil
}
