package judge

import (
	"context"
	"fmt"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

func redeployTest() test {
	return test{
		id: "redeploy", title: "Redeployment after a change of the program",
		method: "A file of the program's core is added in a copy of its source; then the program or its image is built, with the compiler's caches as they " +
			"are, and the running deployment is brought up to it, until every process is a new one and the API gives a right answer.",
		run: redeploy,
	}
}

// redeploy measures what a developer waits for after a change.
func redeploy(ctx context.Context, s *session, t *result.Test) error {
	r, ok := s.driver.(envbench.Rebuilder)
	if !ok {
		return &envbench.Unsupported{What: "building a changed program", Evidence: "its driver cannot"}
	}
	if _, err := s.up(ctx); err != nil {
		return err
	}
	begun, n := time.Now().Unix(), 0
	err := s.repeat(ctx, "redeployments", func(ctx context.Context, count bool) error {
		n++
		begin := time.Now()
		d, built, err := r.Rebuild(ctx, s.Deployment, fmt.Sprintf("rebuilt-%d-%d", begun, n))
		if err != nil {
			return err
		}
		rolled := time.Now()
		stages, err := s.deployed(ctx, d)
		if err != nil || !count {
			return err
		}
		t.Add("total", "s", time.Since(begin).Seconds()).Warmups = 1
		t.Add("stage/build", "s", rolled.Sub(begin).Seconds()).Warmups = 1
		t.Add("stage/roll", "s", time.Since(rolled).Seconds()).Warmups = 1
		addStages(t, "stage/roll/", stages)
		for _, one := range built {
			if one.Name != envbench.StageBuild {
				t.Add("stage/build/"+one.Name, "s", one.Seconds).Warmups = 1
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.driver.Down(ctx, s.Deployment.Name); err != nil { // what was built runs no more
		return err
	}
	return r.Clean(ctx)
}
