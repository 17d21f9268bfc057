// Package advise says in which environment to deploy: by rules that say themselves, from
// what env bench has measured and from the table of prices. It measures nothing, and where
// a figure is missing that a rule needs, it says so.
package advise

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/prices"
	"github.com/geecache/geecache/internal/words"
)

// The phases of a project.
const (
	Dev  = "dev"  // the program changes, and is looked at again
	Test = "test" // it is tried together with AWS's calls
	CI   = "ci"   // tests run by themselves, on machines that know nothing
	Perf = "perf" // figures are wanted that hold in production
	Prod = "prod"
)

// Phases returns all of them, in the order in which a project meets them.
func Phases() []string { return []string{Dev, Test, CI, Perf, Prod} }

// Answers are what is known of a project.
type Answers struct {
	Phase     string   // one of Phases
	Offline   bool     // there is no network
	Budget    float64  // US dollars a month; NaN: it does not matter
	Hours     float64  // a month that the deployment runs
	Nodes     int      // cache nodes
	Needs     []string // of Needs
	NoAccount bool     // there is no account with AWS
	Metrics   int      // that the deployment sends to CloudWatch, which charges for them
}

// needs are what a user may need, and the facts of test fidelity that have to be done.
var needs = map[string][]string{
	"aws":         {"ecs:CreateService"},
	"autoscaling": {"application-autoscaling:RegisterScalableTarget", "application-autoscaling:PutScalingPolicy", "auto-scaling trigger"},
	"cloudmap":    {"servicediscovery:RegisterInstance, DiscoverInstances"},
	"health":      {"health checks of processes"},
	"iam":         {"permissions are enforced"},
	"insights":    {"Container Insights"},
	"limits":      {"CPU limit", "memory limit"},
	"logs":        {"awslogs: a stream for each task"},
	"metrics":     {"EMF in logs becomes metrics", "alarms fire"},
	"registries":  {"service registries fill Cloud Map"},
	"replacement": {"a process that died is replaced"},
	"rolling":     {"rolling update", "circuit breaker rolls back"},
	"secrets":     {"secrets reach processes"},
	"targets":     {"health checks of targets"},
}

// Needs returns the names of what a user may need.
func Needs() []string { return slices.Sorted(maps.Keys(needs)) }

// Validate returns an error that names the first answer that makes no sense, and the remedy.
func (a Answers) Validate() error {
	switch {
	case !slices.Contains(Phases(), a.Phase):
		return fmt.Errorf("phase is %q: use %s%s", a.Phase, strings.Join(Phases(), ", "), words.DidYouMean(a.Phase, Phases(), ""))
	case a.Budget < 0 || math.IsInf(a.Budget, 0):
		return fmt.Errorf("budget is %v: use dollars a month, 0 or more", a.Budget)
	case !(a.Hours > 0 && a.Hours <= 744):
		return fmt.Errorf("hours are %v: use up to 744, the hours of the longest month", a.Hours)
	case a.Nodes < 1 || a.Nodes > envbench.MaxNodes:
		return fmt.Errorf("nodes is %d: use 1 to %d", a.Nodes, envbench.MaxNodes)
	}
	for _, n := range a.Needs {
		if _, known := needs[n]; !known {
			return fmt.Errorf("need %q is not known: use %s%s", n, strings.Join(Needs(), ", "), words.DidYouMean(n, Needs(), ""))
		}
	}
	return nil
}

// A Results is a results file with its name.
type Results struct {
	Name string
	File *result.File
}

// A Reason is why an environment is taken, or is not.
type Reason struct {
	Environment string `json:"environment"`
	For         bool   `json:"for"` // it speaks for the environment, else against it
	Text        string `json:"text"`
	Source      string `json:"source"` // the results file, the price table, or the rule
}

// An Advice is an environment with its reasons.
type Advice struct {
	Environment string   `json:"environment,omitempty"` // empty: none has all that is asked for
	Reasons     []Reason `json:"reasons"`
	Missing     []string `json:"missing,omitempty"` // results that would say more
	Commands    []string `json:"commands,omitempty"`
}

// rule is the source of a reason that no figure gives.
const rule = "rule"

// An adviser collects reasons.
type adviser struct {
	Answers
	have map[string][]Results // the newest first
	out  map[string]bool      // who is out of the question
	Advice
}

// Advise answers from results: for each environment it takes each test from the newest that
// have it whole. It is an error if the answers make no sense.
func Advise(a Answers, results []Results, table prices.Table) (*Advice, error) {
	if err := a.Validate(); err != nil {
		return nil, err
	}
	ad := &adviser{Answers: a, have: newestFirst(results), out: make(map[string]bool)}
	for name, all := range ad.have {
		if r := all[0]; r.File.Partial != "" {
			ad.Missing = append(ad.Missing, fmt.Sprintf("%s: %s is partial: %s", name, r.Name, r.File.Partial))
		}
	}
	slices.Sort(ad.Missing)
	ad.network()
	ad.account()
	ad.money(table)
	ad.purpose()
	ad.behaviours()
	ad.choose()
	return &ad.Advice, nil
}

// newestFirst returns the results of each environment, the newest first. What was measured
// at an emulator through the driver of AWS is none of AWS.
func newestFirst(results []Results) map[string][]Results {
	have := make(map[string][]Results)
	for _, r := range results {
		e := r.File.Environment
		if e == envbench.AWS && r.File.Versions["emulator"] != "" {
			continue
		}
		have[e] = append(have[e], r)
	}
	for _, all := range have {
		slices.SortStableFunc(all, func(a, b Results) int { return b.File.Begun.Compare(a.File.Begun) })
	}
	return have
}

// test returns a test from the newest results that have it whole, or else from the newest
// that have it, and the file's name. It is nil if none has it: then the name is that of the
// newest results, if there are any.
func (ad *adviser) test(environment, id string) (found *result.Test, file string) {
	for _, r := range ad.have[environment] {
		t := r.File.Test(id)
		if t.Whole() {
			return t, r.Name
		}
		if file == "" || found == nil && t != nil {
			found, file = t, r.Name
		}
	}
	return found, file
}

func (ad *adviser) against(environment, source, format string, args ...any) {
	ad.out[environment] = true
	ad.Reasons = append(ad.Reasons, Reason{environment, false, fmt.Sprintf(format, args...), source})
}

func (ad *adviser) speaks(environment, source, format string, args ...any) {
	ad.Reasons = append(ad.Reasons, Reason{environment, true, fmt.Sprintf(format, args...), source})
}

func (ad *adviser) missing(environment, test, why string) {
	ad.Missing = append(ad.Missing, fmt.Sprintf("%s: %s: geecache env bench %s --only %s -o FILE measures it", environment, why, environment, test))
}

// fact returns what a test found, and the file's name; nil: nothing.
func (ad *adviser) fact(environment, test, name string) (*result.Fact, string) {
	t, file := ad.test(environment, test)
	if t != nil {
		for i := range t.Facts {
			if t.Facts[i].Name == name {
				return &t.Facts[i], file
			}
		}
	}
	return nil, file
}

// network looks who works without one.
func (ad *adviser) network() {
	if !ad.Offline {
		return
	}
	for _, e := range envbench.Environments() {
		f, file := ad.fact(e, "setup", "works without a network")
		switch {
		case f != nil && f.Verdict == result.Done:
			ad.speaks(e, file, "works without a network: %s", f.Evidence)
		case f != nil:
			ad.against(e, file, "without a network: %s: %s", f.Verdict, f.Evidence)
		case e == envbench.AWS:
			ad.against(e, rule, "AWS is reached over the network")
		default:
			ad.against(e, rule, "nobody has tried it without a network")
			ad.missing(e, "setup", "whether it works without a network")
		}
	}
}

func (ad *adviser) account() {
	if ad.NoAccount {
		ad.against(envbench.AWS, rule, "it needs an account with AWS")
	}
}

// money looks who costs more than there is.
func (ad *adviser) money(table prices.Table) {
	if math.IsNaN(ad.Budget) {
		return
	}
	shape := prices.Standard()
	shape.Nodes, shape.Metrics = ad.Nodes, ad.Metrics
	month := prices.Sum(table.Lines(shape.Configuration())) * ad.Hours
	text := fmt.Sprintf("%d nodes cost %.2f USD a month of %g hours, before traffic and logs, with prices of %s", ad.Nodes, month, ad.Hours, prices.Date)
	source := "geecache env cost, " + table.Region
	if month > ad.Budget {
		ad.against(envbench.AWS, source, "%s: more than %.2f USD", text, ad.Budget)
	} else {
		ad.speaks(envbench.AWS, source, "%s: no more than %.2f USD", text, ad.Budget)
	}
}

// purpose applies what a phase excludes.
func (ad *adviser) purpose() {
	if ad.Phase != Perf && ad.Phase != Prod {
		return
	}
	for _, e := range envbench.Environments() {
		if e == envbench.AWS {
			continue
		}
		text, source := "all of it is on one machine, which production is not", rule
		if f, file := ad.fact(e, "fidelity", "a process that died is replaced"); ad.Phase == Prod && f != nil {
			text, source = fmt.Sprintf("all of it is on one machine; a process that died is replaced: %s (%s)", f.Verdict, f.Evidence), file
		}
		if len(ad.have[e]) > 0 && ad.Phase == Perf {
			t, file := ad.test(e, "network")
			if s := t.Find("node-to-node"); s != nil && len(s.Samples) > 0 {
				text, source = fmt.Sprintf("its nodes share one machine: a round trip between them takes %.3g %s (median of %d), over no network", s.Median(), s.Unit, len(s.Samples)), file
			} else {
				ad.missing(e, "network", "the round trip between nodes")
			}
		}
		ad.against(e, source, "%s", text)
	}
}

// behaviours looks who does what is needed.
func (ad *adviser) behaviours() {
	wanted := slices.Clone(ad.Needs)
	if ad.Phase == Test && len(wanted) == 0 {
		wanted = []string{"aws"} // what tests with AWS's calls are about
	}
	for _, need := range wanted {
		for _, e := range envbench.Environments() {
			ad.needed(e, need)
		}
	}
}

// needed looks whether an environment does what one need is about.
func (ad *adviser) needed(e, need string) {
	for _, name := range needs[need] {
		f, file := ad.fact(e, "fidelity", name)
		switch {
		case f == nil && ad.noAPI(e) != nil && aws(name):
			none := ad.noAPI(e)
			ad.against(e, file, "%s: %s: %s: %s", need, none.Name, none.Verdict, none.Evidence)
			return // of the others the same would be said
		case f != nil && f.Verdict == result.Done:
			ad.speaks(e, file, "%s: %s: done: %s", need, name, f.Evidence)
		case f != nil && f.Verdict == result.Unknown && e == envbench.AWS:
			ad.speaks(e, file, "%s: %s: AWS itself says what it is; here it was not tried: %s", need, name, f.Evidence)
		case f != nil:
			ad.against(e, file, "%s: %s: %s: %s", need, name, f.Verdict, f.Evidence)
		case e == envbench.AWS:
			ad.speaks(e, rule, "%s: %s: AWS itself says what it is; here it was not measured", need, name)
		default:
			ad.against(e, rule, "%s: nobody has tried whether it does this: %s", need, name)
			ad.missing(e, "fidelity", name)
		}
	}
}

// aws reports whether a fact is one of AWS's own.
func aws(name string) bool {
	return !slices.Contains([]string{"CPU limit", "memory limit", "health checks of processes", "a process that died is replaced", "secrets reach processes", "rolling update", "circuit breaker rolls back"}, name)
}

// noAPI returns the fact that an environment has none of AWS's APIs; nil: it may have.
func (ad *adviser) noAPI(e string) *result.Fact {
	f, _ := ad.fact(e, "fidelity", "calls of AWS")
	return f
}

// A contender is an environment that is not out of the question.
type contender struct {
	environment string
	series      *result.Series // what is to be small; nil: it was not measured
	file        string
}

// ranking returns by what a phase chooses among what is possible.
func ranking(phase string) (test, series, what string) {
	switch phase {
	case Dev:
		return "redeploy", "total", "a redeployment after a change"
	case CI:
		return "setup", "from-clone", "from a clone to a deployment"
	}
	return "deploy", "total", "a deployment from nothing"
}

// choose takes the fastest of what is left.
func (ad *adviser) choose() {
	test, name, what := ranking(ad.Phase)
	var left []contender
	for _, e := range envbench.Environments() {
		if ad.out[e] {
			continue
		}
		c := contender{environment: e}
		t, file := ad.test(e, test)
		if s := t.Find(name); s != nil && len(s.Samples) > 0 {
			c.series, c.file = s, file
		}
		if c.series == nil && e != envbench.AWS {
			ad.missing(e, test, what)
		}
		left = append(left, c)
	}
	slices.SortStableFunc(left, func(a, b contender) int { // who was not measured comes last
		switch {
		case a.series == nil && b.series == nil:
			return 0
		case a.series == nil || b.series != nil && surely(b.series, a.series):
			return 1
		case b.series == nil || surely(a.series, b.series):
			return -1
		}
		return 0 // it cannot be told: the nearer one
	})
	if len(left) == 0 {
		return
	}
	best := left[0]
	ad.Environment, ad.Commands = best.environment, commands(best.environment)
	if best.series == nil {
		ad.speaks(best.environment, rule, "it is the nearest that is left; nobody has measured %s", what)
		return
	}
	for _, c := range left {
		if c.series == nil {
			continue
		}
		iv, _ := c.series.Interval()
		text := fmt.Sprintf("%s takes %.3g %s (median of %d, %.3g to %.3g)", what, c.series.Median(), c.series.Unit, len(c.series.Samples), iv.Low, iv.High)
		switch {
		case c.environment == best.environment:
			ad.speaks(c.environment, c.file, "%s", text)
		case surely(best.series, c.series):
			ad.Reasons = append(ad.Reasons, Reason{c.environment, false, text + ": longer", c.file})
		default:
			ad.Reasons = append(ad.Reasons, Reason{c.environment, false, text + ": whether that is longer cannot be told, and it is farther from the developer's machine", c.file})
		}
	}
}

// surely reports whether a takes less than b: their medians' intervals do not overlap.
func surely(a, b *result.Series) bool {
	x, _ := a.Interval()
	y, _ := b.Interval()
	return x.High < y.Low
}

// commands returns what deploys in an environment.
func commands(environment string) []string {
	switch environment {
	case envbench.Docker:
		return []string{"docker build -f docker-native/Dockerfile -t geecache:latest .", "geecache env up docker"}
	case envbench.Emulator:
		return []string{"docker compose --file localstack-setup/docker-compose.yml up --wait", "localstack-setup/deploy.sh"}
	case envbench.AWS:
		return []string{"aws-terraform/deploy.sh", "aws-terraform/destroy.sh"}
	}
	return []string{"geecache env up local"}
}

// ErrNone is the error for an advice that names no environment.
var ErrNone = errors.New("no environment has all that is asked for: ask for less, or measure what is missing")
