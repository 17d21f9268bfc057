// Package judge measures environments: it deploys the same cluster in one of them, and
// does the same to it there as in every other. What it finds goes into results files; what
// an environment cannot do is a finding, too.
package judge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/machine"
)

// A Config says what Run measures.
type Config struct {
	Environment string
	Options     envbench.Options
	Deployment  envbench.Deployment
	Times       int      // how often what takes less than 10 s is done; the rest is done half as often. Default: DefaultTimes
	Only        []string // IDs of tests; empty: all

	// Hello is the image of a static server, whose containers are deployed beside: see
	// localstack-setup/hello. Empty: none are.
	Hello string

	// CloudWatchMetrics returns how many metrics so many processes send to CloudWatch, where
	// each has a price. nil: none.
	CloudWatchMetrics func(processes int) int

	// Progress is told what happens now. nil: nobody is.
	Progress func(test, text string)
}

// DefaultTimes is how often things are done if Config says nothing.
const DefaultTimes = 10

// cleanWithin bounds how long it may take to remove what a run has made.
const cleanWithin = 3 * time.Minute

// A test is one of the judge's. run fills in what it finds, and adds no samples of a
// repetition that failed. It may leave the deployment in any state.
type test struct {
	id, title string
	method    string
	run       func(context.Context, *session, *result.Test) error
}

// IDs returns the names of all tests, in the order in which they are run.
func IDs() (ids []string) {
	for _, t := range tests() {
		ids = append(ids, t.id)
	}
	return ids
}

// Title returns what a test is called in reports; empty: there is no such test.
func Title(id string) string {
	for _, t := range tests() {
		if t.id == id {
			return t.title
		}
	}
	return ""
}

// A session is a run in one environment.
type session struct {
	Config
	driver envbench.Driver
	open   func(environment string, o envbench.Options) (envbench.Driver, error) // another one
	now    string                                                                // ID of the test that runs
	send   generator
}

// tell tells what happens now.
func (s *session) tell(format string, args ...any) {
	if s.Progress != nil {
		s.Progress(s.now, fmt.Sprintf(format, args...))
	}
}

// up brings the deployment to what Config says, and returns what is there.
func (s *session) up(ctx context.Context) (*envbench.Status, error) {
	return s.driver.Up(ctx, s.Deployment)
}

// A deployment is what a test asks: it is up, and each process can be asked at its own
// address.
type deployment struct {
	*session
	now   *envbench.Status
	asker *envbench.Asker // to be closed
}

// begin brings a deployment up, to ask its processes.
func (s *session) begin(ctx context.Context, d envbench.Deployment) (*deployment, error) {
	now, err := s.driver.Up(ctx, d)
	if err != nil {
		return nil, err
	}
	asker, err := envbench.NewAsker(ctx, s.driver, d.Name)
	if err != nil {
		return nil, err
	}
	return &deployment{s, now, asker}, nil
}

// What takes slow or longer is done half as often, but fewest times at least.
const (
	slow   = 10 * time.Second
	fewest = 5
)

// repeat does something once for warming up, and then as often as Config says: half as
// often, but at least 5 times, if it takes 10 s or more on average. The warm-up does not
// decide that, for it may wait for what is not waited for again. once is told whether to
// count.
func (s *session) repeat(ctx context.Context, what string, once func(ctx context.Context, count bool) error) error {
	half := min(s.Times, max(s.Times/2, fewest))
	var took time.Duration // of all that count
	for i := 0; i <= s.Times; i++ {
		times := s.Times
		if done := i - 1; done > 0 && took >= time.Duration(done)*slow {
			times = half
		}
		if i > times {
			break
		}
		s.tell("%s, %d of %d", what, i, times)
		begun := time.Now()
		if err := once(ctx, i > 0); err != nil {
			return fmt.Errorf("%s, %d of %d: %w", what, i, times, err)
		}
		if i > 0 {
			took += time.Since(begun)
		}
	}
	return nil
}

// Run measures one environment, removes what it has made, and returns what it found. If it
// was interrupted or a test failed, what there is is marked as partial, and the error says
// why. The file is nil only if nothing could be begun.
func Run(ctx context.Context, d envbench.Driver, c Config) (*result.File, error) {
	if c.Times == 0 {
		c.Times = DefaultTimes
	}
	for _, id := range c.Only {
		if !slices.Contains(IDs(), id) {
			return nil, fmt.Errorf("there is no test %q: there are %s", id, strings.Join(IDs(), ", "))
		}
	}
	c.Deployment = c.Deployment.WithDefaults()
	if err := c.Deployment.Validate(); err != nil {
		return nil, err
	}
	if c.Deployment.Source != "" {
		return nil, fmt.Errorf("source is %q: what is measured knows the demonstration database's answers: leave it out", c.Deployment.Source)
	}
	if c.Environment != envbench.AWS {
		for _, name := range []string{c.Deployment.Name, helloName(c.Deployment.Name)} {
			if _, err := d.Status(ctx, name); err == nil {
				return nil, fmt.Errorf("there is a cluster %q in %s already, which a measurement would remove: measure one of another --name", name, c.Environment)
			} else if !errors.Is(err, envbench.ErrAbsent) {
				return nil, err
			}
		}
	}
	send, err := c.generator()
	if err != nil {
		return nil, err
	}
	s := &session{Config: c, driver: d, open: envbench.New, send: send}
	f := &result.File{
		Format: result.Format, Environment: c.Environment, Begun: time.Now().UTC().Truncate(time.Second), Machine: machine.This(),
		Versions: map[string]string{}, Deployment: result.Deployment{
			Nodes: c.Deployment.Nodes, CacheBytes: c.Deployment.CacheBytes, Image: c.Deployment.Image, Registry: c.Deployment.Registry,
		},
	}
	if v, ok := d.(envbench.Versioner); ok {
		f.Versions = v.Versions(ctx)
	}
	if c.Environment == envbench.Local {
		f.Deployment.Image = "" // processes of a program, and no image
	}
	f.Load[0] = machine.LoadAverage()
	begun := time.Now()
	var failed []error
	for _, t := range tests() {
		if len(c.Only) > 0 && !slices.Contains(c.Only, t.id) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		one, err := s.one(ctx, t)
		f.Tests = append(f.Tests, one)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", t.id, err))
		}
	}
	if err := s.clean(ctx); err != nil {
		failed = append(failed, err)
	}
	if ctx.Err() != nil {
		failed = append(failed, fmt.Errorf("the run was interrupted: %w", context.Cause(ctx)))
	}
	f.Seconds = time.Since(begun).Seconds()
	f.Load[1] = machine.LoadAverage()
	err = errors.Join(failed...)
	if err != nil {
		f.Partial = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return f, err
}

// one runs a test, and says in its state what came of it.
func (s *session) one(ctx context.Context, t test) (result.Test, error) {
	s.now = t.id
	s.tell("%s", t.title)
	one := result.Test{ID: t.id, State: result.Measured, Method: t.method}
	begun := time.Now()
	err := t.run(ctx, s, &one)
	one.Seconds = time.Since(begun).Seconds()
	var not *envbench.Unsupported
	switch {
	case errors.As(err, &not):
		one.State, one.Evidence = result.Unsupported, not.Error()
		return one, nil
	case err != nil:
		one.State, one.Evidence = result.Failed, err.Error()
		if len(one.Series)+len(one.Counts)+len(one.Facts) > 0 {
			one.State = result.Partial
		}
	}
	return one, err
}

// generator returns what sends the load of tests: geecache itself, in a process of its own
// where it can be asked to end.
func (c *Config) generator() (generator, error) {
	if !interruptible {
		return inProcess, nil
	}
	program := c.Options.Program
	if program == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("the program's own file is unknown: %w", err)
		}
		program = exe
	}
	return inOwnProcess(program), nil
}

// clean removes the deployment, however the run has ended. What is in AWS stays, because
// it was there before.
func (s *session) clean(ctx context.Context) error {
	if s.Environment == envbench.AWS {
		return nil
	}
	s.now = ""
	s.tell("removing what was made")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
	defer cancel()
	err := s.driver.Down(ctx, s.Deployment.Name)
	if d, why := s.hello(); why == "" {
		err = errors.Join(err, s.driver.Down(ctx, d.Name))
	}
	if r, ok := s.driver.(envbench.Rebuilder); ok {
		err = errors.Join(err, r.Clean(ctx))
	}
	return err
}
