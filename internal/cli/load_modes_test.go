package cli

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/loadgen"
)

func TestLoadSteps(t *testing.T) {
	dir := t.TempDir()
	jsonFile, benchFile := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.bench")
	out, errOut, code := runLoad(t, t.Context(), "--target", loadTarget(t), "--expect", "sprintf:v:%s",
		"--steps", "50..150+50:200ms", "--json", jsonFile, "--bench", benchFile)
	if code != 0 || !strings.Contains(errOut, "step 3 of 3: 150/s: p99 ") || !regexp.MustCompile(`(?m)^ +100 +\S+ +\S+ +20 +0 `).MatchString(out) {
		t.Fatalf("status %d\n%s\n%s", code, out, errOut)
	}
	data, err := os.ReadFile(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Steps []struct {
			Completed int64
			Lag       struct {
				P99 *int64 `json:"p99_ns"`
			}
		}
	}
	if err := json.Unmarshal(data, &result); err != nil || len(result.Steps) != 3 || result.Steps[2].Completed != 30 || result.Steps[0].Lag.P99 == nil {
		t.Errorf("JSON %s: %v", data, err)
	}
	if bench, err := os.ReadFile(benchFile); err != nil || strings.Count(string(bench), "\nBenchmarkLoad/target=api/rate=") != 3 {
		t.Errorf("benchmark lines: %s %v", bench, err)
	}
	out, errOut, code = runLoad(t, t.Context(), "--target", loadTarget(t), "--steps", "50:100ms", "--key-format", "no%d")
	if code != 1 || !strings.Contains(errOut, "5 of 5 requests failed") || !strings.Contains(out, "at 50/s: at 0s") {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
}

// No machine sends two million requests a second over HTTP.
func TestLoadSaturatedHasAStatusOfItsOwn(t *testing.T) {
	args := []string{"--target", loadTarget(t), "--rate", "2000000", "--count", "5000", "--max-outstanding", "100000"}
	out, errOut, code := runLoadStrictly(t, t.Context(), args...)
	if code != exitSaturated || !strings.Contains(errOut, "generator saturated") || !strings.Contains(out, "note: generator saturated: it sent ") {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
	if _, errOut, code := runLoad(t, t.Context(), args...); code != 0 {
		t.Errorf("status %d although it is put up with: %s", code, errOut)
	}
}

func TestLoadFollowsATrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte("7 2 0 0\n7 1 0 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--target", loadTarget(t), "--expect", "sprintf:v:%s", "--rate", "200", "--trace", path, "--trace-format", "arc"}
	out, errOut, code := runLoad(t, t.Context(), args...)
	if code != 0 || !strings.Contains(out, "2 keys (trace)") || !strings.Contains(out, "trace: all 3 requests\n") || !strings.Contains(out, "outcomes:  ok 3\n") {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
	out, errOut, code = runLoad(t, t.Context(), append(args, "--trace-repeat", "--count", "9")...)
	if code != 0 || !strings.Contains(out, "outcomes:  ok 9\n") || !strings.Contains(out, "requests of its 3, 3") {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
}

func TestLoadFindsARate(t *testing.T) {
	jsonFile := filepath.Join(t.TempDir(), "r.json")
	out, errOut, code := runLoad(t, t.Context(), "--target", loadTarget(t), "--find-max-rate", "--p99", "10s",
		"--from-rate", "1000", "--min-rate", "1000", "--max-rate", "1000", "--probe", "100ms", "--warmup", "10ms", "--json", jsonFile)
	// A busy machine may have no answer, and says so.
	found := code == 0 && strings.Contains(out, "at least 1000/s: nothing above 1000/s was tried")
	busy := code == 1 && strings.Contains(out, "no answer: the generator was saturated at ")
	if !found && !busy || !strings.Contains(errOut, "ramp 1000/s: ") {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
	if data, err := os.ReadFile(jsonFile); err != nil || !json.Valid(data) {
		t.Errorf("JSON %s: %v", data, err)
	}
	out, errOut, code = runLoadStrictly(t, t.Context(), "--target", loadTarget(t), "--key-format", "no%d", "--find-max-rate", "--p99", "1s")
	if code != 1 || !strings.Contains(errOut, "no rate: not one of 20 requests was answered rightly") || !strings.Contains(out, "no rate: ") {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
}

func TestLoadModesThatDoNotGoTogether(t *testing.T) {
	for want, args := range map[string][]string{
		"--steps, --find-max-rate: give one":         {"--steps", "1:1s", "--find-max-rate", "--p99", "1s"},
		"--steps and --find-max-rate say how much":   {"--steps", "1:1s", "--rate", "5"},
		"--steps: step \"5\": it has no duration":    {"--steps", "5"},
		"they go with --find-max-rate":               {"--p99", "5ms"},
		"what is to hold?":                           {"--find-max-rate"},
		"with --find-max-rate use --error-share":     {"--find-max-rate", "--p99", "1s", "--max-errors", "2"},
		"search: Precision: 3":                       {"--find-max-rate", "--p99", "1s", "--precision", "3"},
		"--trace: open nowhere":                      {"--trace", "nowhere"},
		"--trace: load_modes.go: trace format \"x\"": {"--trace", "load_modes.go", "--trace-format", "x"},
		"--trace, --key-file: give one":              {"--trace", "load_modes.go", "--key-file", "load_modes.go"},
		"a trace has its own order":                  {"--trace", "load_modes.go", "--dist", "zipf"},
		"Keys.Repeat: there is no trace":             {"--trace-repeat"},
	} {
		out, errOut, code := runLoad(t, t.Context(), append(args, "--target", "http://localhost:1")...)
		if code != 2 || !strings.Contains(errOut, want) {
			t.Errorf("%v: status %d, want %q in\n%s%s", args, code, want, out, errOut)
		}
	}
}

func TestLoadStatusOfASearch(t *testing.T) {
	found := &loadgen.MaxRate{Rate: 5, TooHigh: 6, Limit: loadgen.Bad, Why: "slow"}
	atLeast := &loadgen.MaxRate{Rate: 5, TooHigh: 6, Limit: loadgen.SaturatedVerdict, Saturated: true, AtLeast: true, Why: "late"}
	none := &loadgen.MaxRate{TooHigh: 6, Limit: loadgen.SaturatedVerdict, Saturated: true, Why: "late"}
	cut := &loadgen.MaxRate{Unconfirmed: 5, TooHigh: 6, Limit: loadgen.SaturatedVerdict, Saturated: true, Interrupted: true, Why: "late"}
	for _, c := range []struct {
		r       *loadgen.MaxRate
		allowed bool
		status  int
		want    string
	}{
		{found, false, exitOK, ""},
		{atLeast, false, exitSaturated, "generator saturated: at least 5/s"},
		{atLeast, true, exitOK, ""},
		{none, false, exitSaturated, "generator saturated: no answer"},
		{none, true, exitError, "load: no answer"},
		{cut, false, exitError, "load: interrupted: good up to 5/s so far"},
	} {
		err := (&loadFlags{saturated: c.allowed}).judge(c.r)
		status := exitOK
		var own interface{ ExitCode() int }
		switch {
		case errors.As(err, &own):
			status = own.ExitCode()
		case err != nil:
			status = exitError
		}
		if status != c.status || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: status %d (%v), want %d", c.r.Answer(), status, err, c.status)
		}
	}
}

// A run of its own process has real-time scheduling, or says why not, and tells when it
// counts.
func TestLoadInRealTime(t *testing.T) {
	cmd := exec.Command(os.Args[0], "load", "--target", loadTarget(t), "--expect", "sprintf:v:%s", "--rate", "50", "--count", "5", "--warmup", "100ms", "--realtime", "--allow-saturated", "--json", "-")
	cmd.Env = testEnv()
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &errOut)
	}
	var r loadgen.Result
	if err := json.Unmarshal(out, &r); err != nil || r.Completed != 5 {
		t.Fatalf("%v\n%s", err, out)
	}
	had, warned := r.Machine.Scheduling == loadgen.ScheduledRealTime, strings.Contains(errOut.String(), "geecache: load: --realtime: real-time scheduling: ")
	if had == warned || warned != (r.Config.RealTimeRefused != "") {
		t.Errorf("it had %q, which was refused because of %q\n%s", r.Machine.Scheduling, r.Config.RealTimeRefused, &errOut)
	}
	if !strings.Contains(errOut.String(), loadgen.CountingLine+"\n") {
		t.Errorf("it did not tell that it counts\n%s", &errOut)
	}
}
