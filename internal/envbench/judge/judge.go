// Package judge measures environments: it deploys the same cluster in one of them, and
// does the same to it there as in every other. What it finds goes into results files; what
// an environment cannot do is a finding, too.
package judge

import (
	"cmp"
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

	// StateDir is a folder of the user's in which is kept what runs, so that the next one
	// removes what one that was killed has left. Empty: that is not kept.
	StateDir string
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
	cut    []string // IDs of those that were interrupted
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
func Run(ctx context.Context, d envbench.Driver, c Config) (_ *result.File, err error) {
	if c.Times == 0 {
		c.Times = DefaultTimes
	}
	for _, id := range c.Only {
		if !slices.Contains(IDs(), id) {
			return nil, fmt.Errorf("there is no test %q: there are %s", id, strings.Join(IDs(), ", "))
		}
	}
	s := sessionOf(d, c)
	c = s.Config
	if err := c.Deployment.Validate(); err != nil {
		return nil, err
	}
	if c.Deployment.Source != "" {
		return nil, fmt.Errorf("source is %q: what is measured knows the demonstration database's answers: leave it out", c.Deployment.Source)
	}
	if s.send, err = c.generator(); err != nil {
		return nil, err
	}
	j, err := openJournal(c, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.end()) }()
	if err := s.prepare(ctx, j); err != nil && ctx.Err() == nil {
		return nil, err
	}
	f := &result.File{
		Format: result.Format, Environment: c.Environment, Begun: time.Now().UTC().Truncate(time.Second), Machine: machine.This(),
		Versions: map[string]string{}, Deployment: result.Deployment{
			Nodes: c.Deployment.Nodes, CacheBytes: c.Deployment.CacheBytes, Image: c.Deployment.Image, Registry: c.Deployment.Registry,
		},
	}
	if v, ok := d.(envbench.Versioner); ok {
		f.Versions = v.Versions(ctx)
		s.Options.Region = cmp.Or(s.Options.Region, f.Versions["region"]) // of the environment's variables
	}
	if c.Environment == envbench.Local {
		f.Deployment.Image = "" // processes of a program, and no image
	}
	f.Load[0] = machine.LoadAverage()
	begun := time.Now()
	failed := s.all(ctx, f)
	if err := s.clean(ctx, j); err != nil {
		failed = append(failed, err)
	}
	if ctx.Err() != nil {
		failed = append(failed, s.interrupted(ctx, f))
	}
	f.Seconds = time.Since(begun).Seconds()
	f.Load[1] = machine.LoadAverage()
	if err = errors.Join(failed...); err != nil {
		f.Partial = oneLine(err.Error())
	}
	return f, err
}

// sessionOf returns a session of a configuration, which it completes.
func sessionOf(d envbench.Driver, c Config) *session {
	c.Deployment = c.Deployment.WithDefaults()
	if c.Environment == envbench.Emulator {
		c.Options.Endpoint = envbench.EmulatorEndpoint(c.Options.Endpoint)
	}
	return &session{Config: c, driver: d, open: envbench.New}
}

// prepare removes what another run has left, looks whether there is something that a run would
// remove, and says in the journal that it runs.
func (s *session) prepare(ctx context.Context, j *journal) error {
	if err := s.removeLeft(ctx, j); err != nil {
		return err
	}
	if s.Environment != envbench.AWS {
		for _, name := range s.names() {
			if _, err := s.driver.Status(ctx, name); err == nil {
				return fmt.Errorf("there is a cluster %q in %s already, which a measurement would remove: measure one of another --name", name, s.Environment)
			} else if !errors.Is(err, envbench.ErrAbsent) {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return j.begin()
}

// names returns the names of all that a run deploys.
func (s *session) names() []string {
	all := []string{s.Deployment.Name, helloName(s.Deployment.Name)}
	if s.Environment == envbench.Local {
		all = append(all, offlineName(s.Deployment.Name))
	}
	return all
}

// wanted returns the tests to run.
func (s *session) wanted() []test {
	return slices.DeleteFunc(tests(), func(t test) bool { return len(s.Only) > 0 && !slices.Contains(s.Only, t.id) })
}

// all runs the tests until ctx ends, and returns what went wrong.
func (s *session) all(ctx context.Context, f *result.File) (failed []error) {
	for _, t := range s.wanted() {
		if ctx.Err() != nil {
			break
		}
		one, err := s.one(ctx, t)
		f.Tests = append(f.Tests, one)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", t.id, err))
		}
	}
	return failed
}

// interrupted says what an interruption has cut.
func (s *session) interrupted(ctx context.Context, f *result.File) error {
	var missing []string
	for _, t := range s.wanted() {
		if f.Test(t.id) == nil {
			missing = append(missing, t.id)
		}
	}
	err := fmt.Errorf("the run was interrupted: %w", context.Cause(ctx))
	if len(s.cut) > 0 {
		err = fmt.Errorf("%w; cut: %s", err, strings.Join(s.cut, ", "))
	}
	if len(missing) > 0 {
		err = fmt.Errorf("%w; not begun: %s", err, strings.Join(missing, ", "))
	}
	if len(s.cut)+len(missing) == 0 {
		err = fmt.Errorf("%w; the tests were through", err)
	}
	return err
}

// oneLine returns the lines of a text that are not empty, in one.
func oneLine(text string) string {
	var parts []string
	for line := range strings.Lines(text) {
		if line = strings.Trim(line, " \t\r\n;"); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}

// one runs a test, and says in its state what came of it.
func (s *session) one(ctx context.Context, t test) (result.Test, error) {
	s.now = t.id
	s.tell("%s", t.title)
	one := result.Test{ID: t.id, State: result.Measured, Method: t.method}
	begun := time.Now()
	err := t.run(ctx, s, &one)
	one.Seconds = time.Since(begun).Seconds()
	if ctx.Err() != nil { // what it says then may be about the interruption alone
		s.cut = append(s.cut, t.id)
		err = cmp.Or(err, context.Cause(ctx))
	}
	var not *envbench.Unsupported
	switch {
	case errors.As(err, &not) && ctx.Err() == nil:
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

// clean removes the deployment and all beside it, however the run has ended. What is in AWS
// stays, because it was there before.
func (s *session) clean(ctx context.Context, j *journal) error {
	if j.left == nil {
		return nil // it came to nothing
	}
	s.now = ""
	if s.Environment != envbench.AWS {
		s.tell("removing what was made")
	}
	err := s.remove(context.WithoutCancel(ctx), j.left)
	if err == nil {
		j.left = nil
	}
	return err
}
