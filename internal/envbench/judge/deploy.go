package judge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

func deployTest() test {
	return test{
		id: "deploy", title: "Deployment from nothing",
		method: "From the order to deploy, with nothing there, until the API gives the first right answer. Before it every process answers at its own " +
			"address and all have one ring. What went before is removed each time, the pushed image too, whose layers a registry may keep. " +
			"In turn, as many containers of a static server, made by the same calls, until all answer. After either, two nodes more, without any load.",
		run: deploy,
	}
}

// deploy measures deployments from nothing, and beside them those of a static server.
func deploy(ctx context.Context, s *session, t *result.Test) error {
	if s.Environment == envbench.AWS {
		return &envbench.Unsupported{What: "deploying from nothing", Evidence: "what is in AWS, Terraform makes and removes: aws-terraform/deploy.sh says how long it took"}
	}
	subjects := []envbench.Deployment{s.Deployment}
	hello, why := s.hello()
	if why == "" {
		subjects = append(subjects, hello)
	}
	turn := 0
	err := s.repeat(ctx, "deployments", func(ctx context.Context, count bool) error {
		turn++
		for i := range subjects {
			d := subjects[(turn+i)%len(subjects)] // neither is always the first
			if err := s.driver.Down(ctx, d.Name); err != nil {
				return err
			}
			begun := time.Now()
			stages, err := s.deployed(ctx, d)
			var not *envbench.Unsupported
			if d.Hello && errors.As(err, &not) {
				subjects, why = subjects[:1], not.Evidence
				break
			}
			if err != nil {
				return err
			}
			took := time.Since(begun)
			scaled, err := s.scaledIdle(ctx, d)
			if err != nil && !errors.As(err, &not) {
				return err
			}
			if count {
				add(t, d, took, stages)
				if err == nil {
					t.Add(helloPrefix(d)+"scale", "s", scaled.Seconds()).Warmups = 1
				}
			}
			if err := s.driver.Down(ctx, d.Name); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case s.Hello == "":
		t.Series = append(t.Series, result.Series{Name: "hello/total", Unit: "s", NotMeasured: why})
	case why != "":
		t.Series = append(t.Series, result.Series{Name: "hello/total", Unit: "s", Unsupported: why})
	}
	return err
}

// scaledIdle adds nodes to a deployment that nobody asks for anything, and returns how long
// that took until all have one ring.
func (s *session) scaledIdle(ctx context.Context, d envbench.Deployment) (time.Duration, error) {
	begun := time.Now()
	_, err := s.driver.Scale(ctx, d.Name, d.Nodes+moreNodes)
	return time.Since(begun), err
}

// helloPrefix begins the names of what is measured with the static server.
func helloPrefix(d envbench.Deployment) string {
	if d.Hello {
		return "hello/"
	}
	return ""
}

// add adds what one deployment took.
func add(t *result.Test, d envbench.Deployment, took time.Duration, stages []envbench.Stage) {
	t.Add(helloPrefix(d)+"total", "s", took.Seconds()).Warmups = 1
	if !d.Hello {
		addStages(t, "stage/", stages)
	}
}

// addStages adds a sample of each stage. Those of one name are one.
func addStages(t *result.Test, prefix string, stages []envbench.Stage) {
	var names []string
	sums := make(map[string]float64)
	for _, st := range stages {
		if _, seen := sums[st.Name]; !seen {
			names = append(names, st.Name)
		}
		sums[st.Name] += st.Seconds
	}
	for _, name := range names {
		t.Add(prefix+name, "s", sums[name]).Warmups = 1
	}
}

// deployed brings up a deployment, and returns what the stages took until its first right
// answer: together they are all of the time.
func (s *session) deployed(ctx context.Context, d envbench.Deployment) ([]envbench.Stage, error) {
	now, err := s.driver.Up(ctx, d)
	if err != nil {
		return nil, err
	}
	if d.Hello {
		return now.Stages, nil
	}
	took, err := firstAnswer(ctx, now)
	if err != nil {
		return nil, err
	}
	return append(now.Stages, envbench.Stage{Name: stageFirstAnswer, Seconds: took.Seconds()}), nil
}

// hello returns the deployment of a static server, or why there is none.
func (s *session) hello() (d envbench.Deployment, why string) {
	if s.Hello == "" {
		return d, "no image of a static server was given: --hello names one, such as that of localstack-setup/hello"
	}
	d = envbench.Deployment{Name: helloName(s.Deployment.Name), Image: s.Hello, Nodes: s.Deployment.Nodes, Hello: true, Port: s.Deployment.Port, APIPort: s.Deployment.APIPort}
	return d.WithDefaults(), ""
}

// helloName returns what the static servers beside a deployment are called.
func helloName(name string) string {
	const most = 20 // of a name
	suffix := "-hello"
	return fmt.Sprint(name[:min(len(name), most-len(suffix))], suffix)
}
