package advise

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/prices"
)

// measured returns the results of an environment.
func measured(environment string, tests ...result.Test) Results {
	return Results{environment + ".json", &result.File{Format: result.Format, Environment: environment, Tests: tests}}
}

// took is a test whose samples lie close around a number of seconds.
func took(id, series string, seconds float64) result.Test {
	t := result.Test{ID: id}
	for i := range 10 {
		t.Add(series, "s", seconds*(1+float64(i)/1000))
	}
	return t
}

// facts is a test with facts: name, verdict, in turn.
func facts(id string, all ...string) result.Test {
	t := result.Test{ID: id}
	for i := 0; i+1 < len(all); i += 2 {
		t.Facts = append(t.Facts, result.Fact{Name: all[i], Verdict: all[i+1], Evidence: "evidence of " + all[i]})
	}
	return t
}

// all are results in which every environment on this machine was measured.
func all() []Results {
	const offline = "works without a network"
	setup := took("setup", "from-clone", 60)
	setup.Facts = facts("setup", offline, result.Done).Facts
	hop := took("network", "node-to-node", 0.2)
	return []Results{
		measured(envbench.Local, took("redeploy", "total", 1), took("deploy", "total", 1), took("setup", "from-clone", 30), hop,
			facts("fidelity", "calls of AWS", result.Refused, "a process that died is replaced", result.Refused, "memory limit", result.Refused)),
		measured(envbench.Docker, took("redeploy", "total", 4), took("deploy", "total", 3), took("setup", "from-clone", 20), hop,
			facts("fidelity", "calls of AWS", result.Refused, "a process that died is replaced", result.Done, "memory limit", result.Done, "CPU limit", result.Done)),
		measured(envbench.Emulator, took("redeploy", "total", 6), took("deploy", "total", 5), setup, hop,
			facts("fidelity", "ecs:CreateService", result.Done, "permissions are enforced", result.Accepted, "a process that died is replaced", result.Done)),
	}
}

func TestAdvise(t *testing.T) {
	table, err := prices.In("us-west-2")
	if err != nil {
		t.Fatal(err)
	}
	anything := func(phase string) Answers {
		return Answers{Phase: phase, Budget: math.NaN(), Hours: prices.HoursPerMonth, Nodes: 3}
	}
	with := func(phase string, change func(*Answers)) Answers {
		a := anything(phase)
		change(&a)
		return a
	}
	for _, tt := range []struct {
		name    string
		answers Answers
		results []Results
		want    string // empty: none
		reason  string // one of the reasons has this, and
		source  string // is from there
		missing string
	}{
		{"development takes what redeploys fastest", anything(Dev), all(), envbench.Local, "a redeployment after a change takes 1 s (median of 10", "local.json", ""},
		{"the others say how much longer they take", anything(Dev), all(), envbench.Local, "takes 4.02 s (median of 10, 4 to 4.03): longer", "docker.json", ""},
		{"CI takes what is up first from a clone", anything(CI), all(), envbench.Docker, "from a clone to a deployment takes 20.1 s", "docker.json", ""},
		{"tests with AWS's calls take the emulator", anything(Test), all(), envbench.Emulator, "aws: ecs:CreateService: done", "emulator.json", ""},
		{"what has no API of AWS is out of them", anything(Test), all(), envbench.Emulator, "aws: calls of AWS: refused: evidence of calls of AWS", "docker.json", ""},
		{"a need that an emulator does not fill leads to AWS", with(Test, func(a *Answers) { a.Needs = []string{"iam"} }), all(), envbench.AWS, "iam: permissions are enforced: accepted but not done: evidence", "emulator.json", ""},
		{"unless AWS costs too much", with(Test, func(a *Answers) { a.Needs, a.Budget = []string{"iam"}, 1 }), all(), "", "3 nodes cost", "geecache env cost, us-west-2", ""},
		{"or there is no account", with(Test, func(a *Answers) { a.Needs, a.NoAccount = []string{"iam"}, true }), all(), "", "it needs an account", "rule", ""},
		{"a budget that is enough speaks for AWS", with(Prod, func(a *Answers) { a.Budget = 1000 }), all(), envbench.AWS, "no more than 1000.00 USD", "geecache env cost, us-west-2", ""},
		{"fewer hours cost less", with(Prod, func(a *Answers) { a.Budget, a.Hours = 5, 10 }), all(), envbench.AWS, "USD a month of 10 hours", "geecache env cost, us-west-2", ""},
		{"limits are wanted", with(Dev, func(a *Answers) { a.Needs = []string{"limits"} }), all(), envbench.Docker, "limits: memory limit: refused", "local.json", ""},
		{"performance is AWS's", anything(Perf), all(), envbench.AWS, "its nodes share one machine: a round trip between them takes 0.201 s", "local.json", ""},
		{"so is production", anything(Prod), all(), envbench.AWS, "a process that died is replaced: refused", "local.json", ""},
		{"production without a network is nowhere", with(Prod, func(a *Answers) { a.Offline = true }), all(), "", "AWS is reached over the network", "rule", ""},
		{"without a network only what was tried without", with(Dev, func(a *Answers) { a.Offline = true }), all(), envbench.Emulator, "nobody has tried it without a network", "rule", "local: whether it works without a network: geecache env bench local --only setup"},
		{"without any results, the nearest, and what is missing", anything(Dev), nil, envbench.Local, "nobody has measured a redeployment", "rule", "docker: a redeployment after a change: geecache env bench docker --only redeploy"},
		{"without results a need is AWS's alone", with(Dev, func(a *Answers) { a.Needs = []string{"rolling"} }), nil, envbench.AWS, "nobody has tried whether it does this: rolling update", "rule", "emulator: rolling update"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Advise(tt.answers, tt.results, table)
			if err != nil {
				t.Fatal(err)
			}
			if got.Environment != tt.want {
				t.Errorf("it is %q, want %q: %+v", got.Environment, tt.want, got.Reasons)
			}
			if (got.Environment == "") != (len(got.Commands) == 0) {
				t.Errorf("the commands are %q", got.Commands)
			}
			if !slices.ContainsFunc(got.Reasons, func(r Reason) bool { return strings.Contains(r.Text, tt.reason) && r.Source == tt.source }) {
				t.Errorf("no reason has %q from %q: %+v", tt.reason, tt.source, got.Reasons)
			}
			if tt.missing != "" && !slices.ContainsFunc(got.Missing, func(s string) bool { return strings.Contains(s, tt.missing) }) {
				t.Errorf("missing is %q, want %q", got.Missing, tt.missing)
			}
		})
	}
}

func TestWhatCannotBeToldIsTheNearer(t *testing.T) {
	table, err := prices.In("us-west-2")
	if err != nil {
		t.Fatal(err)
	}
	results := []Results{measured(envbench.Docker, took("redeploy", "total", 3)), measured(envbench.Emulator, took("redeploy", "total", 2.999))}
	got, err := Advise(Answers{Phase: Dev, Budget: math.NaN(), Hours: 1, Nodes: 3}, results, table)
	if err != nil || got.Environment != envbench.Docker {
		t.Fatalf("it is %+v, %v", got, err)
	}
	if last := got.Reasons[len(got.Reasons)-1]; !strings.Contains(last.Text, "cannot be told") {
		t.Errorf("the emulator's reason is %+v", last)
	}
}

func TestNewestAndWhatIsNoAWS(t *testing.T) {
	old, fresh := measured(envbench.Local), measured(envbench.Local)
	fresh.File.Begun = time.Unix(1, 0)
	fresh.Name, fresh.File.Partial = "fresh.json", "interrupted"
	posing := measured(envbench.AWS, took("redeploy", "total", 0.001))
	posing.File.Versions = map[string]string{"emulator": "1"}
	have := newestFirst([]Results{old, fresh, posing})
	if len(have) != 1 || len(have[envbench.Local]) != 2 || have[envbench.Local][0].Name != "fresh.json" {
		t.Errorf("taken are %+v", have)
	}
	table, err := prices.In("us-west-2")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Advise(Answers{Phase: Dev, Budget: math.NaN(), Hours: 1, Nodes: 3}, []Results{fresh}, table)
	if err != nil || !slices.Contains(got.Missing, "local: fresh.json is partial: interrupted") {
		t.Errorf("missing is %q, %v", got.Missing, err)
	}
}

func TestTestsAreFromTheNewestThatHaveThemWhole(t *testing.T) {
	whole, cut := took("redeploy", "total", 3), took("scale", "out/total", 1)
	whole.State, cut.State = result.Measured, result.Failed
	old, newer := measured(envbench.Local, whole, took("scale", "out/total", 2)), measured(envbench.Local, cut)
	newer.Name, newer.File.Begun = "newer.json", time.Unix(1, 0)
	old.File.Tests[1].State = result.Measured
	ad := &adviser{have: newestFirst([]Results{old, newer})}
	for id, want := range map[string]string{"redeploy": "local.json", "scale": "local.json", "cost": "newer.json"} {
		if _, file := ad.test(envbench.Local, id); file != want {
			t.Errorf("test %s is from %q, want %q", id, file, want)
		}
	}
	newer.File.Tests[0].State = result.Measured
	if _, file := ad.test(envbench.Local, "scale"); file != "newer.json" {
		t.Errorf("a newer test that is whole is not taken, but that of %q", file)
	}
	if found, file := ad.test(envbench.Docker, "scale"); found != nil || file != "" {
		t.Errorf("of what was not measured there is %v, %q", found, file)
	}
}

func TestValidate(t *testing.T) {
	good := Answers{Phase: Dev, Budget: math.NaN(), Hours: 730, Nodes: 3, Needs: []string{"iam"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Answers){
		"phase is":    func(a *Answers) { a.Phase = "development" },
		"budget is":   func(a *Answers) { a.Budget = -1 },
		"hours are":   func(a *Answers) { a.Hours = 0 },
		"nodes is":    func(a *Answers) { a.Nodes = 0 },
		`need "imam"`: func(a *Answers) { a.Needs = []string{"imam"} },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", bad, err, want)
		}
	}
}
