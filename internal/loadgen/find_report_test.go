package loadgen

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMaxRateReports(t *testing.T) {
	var m *MaxRate
	synctest.Test(t, func(t *testing.T) {
		q := &queue{service: always(time.Second / 700)}
		m = find(t, Config{Do: q.do, Label: "q"}, Search{P99: 10 * time.Millisecond})
	})
	var text, js, bench bytes.Buffer
	if err := m.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"highest rate with p99 of at most 10ms, no errors: 677/s: good at 677/s, too much at 707/s (p99 was ",
		"check    one caller  20 ", "lag p99  verdict\n", "ramp     1000 ", "  bad\n", "\nconfirmed by:\nopen loop, 677 requests/s",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, text.String())
		}
	}
	if err := m.WriteJSON(&js); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rate      float64
		TooHigh   float64 `json:"too_high"`
		Limit     string
		AtLeast   *bool `json:"at_least"`
		Saturated *bool `json:"generator_saturated"`
		Search    struct {
			P99 time.Duration `json:"p99_ns"`
		}
		Confirmed struct{ Completed int64 }
		Probes    []struct {
			Phase, Verdict string
			Result         struct{ Lag LatencyStats }
		}
	}
	if err := json.Unmarshal(js.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Rate != 677 || got.TooHigh != 707 || got.Limit != "bad" || *got.AtLeast || *got.Saturated || got.Search.P99 != 10*time.Millisecond ||
		got.Confirmed.Completed != 6770 || len(got.Probes) != len(m.Probes) || got.Probes[0].Phase != PhaseCheck || got.Probes[1].Result.Lag.Count != 2500 {
		t.Errorf("JSON: %+v", got)
	}
	if err := m.WriteBench(&bench); err != nil || !strings.HasPrefix(bench.String(), "BenchmarkMaxRate/target=q/p99=10ms-") || !strings.Contains(bench.String(), " 677 max-req/s 707 too-high-req/s ") {
		t.Errorf("benchmark line %q, %v", bench.String(), err)
	}
}

func TestAnswersWithoutARate(t *testing.T) {
	for want, m := range map[string]MaxRate{
		"interrupted: good up to 500/s so far, which is not confirmed":                                     {Interrupted: true, Unconfirmed: 500},
		"interrupted before any rate was found good":                                                       {Interrupted: true},
		"no answer: the generator was saturated at 50/s already (late)":                                    {TooHigh: 50, Limit: SaturatedVerdict, Saturated: true, Why: "late"},
		"at least 9/s: at 10/s the generator was saturated, and the target's limit was not reached (late)": {Rate: 9, TooHigh: 10, AtLeast: true, Saturated: true, Why: "late"},
	} {
		if got := m.Answer(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		var bench bytes.Buffer
		if err := m.WriteBench(&bench); err != nil || bench.Len() > 0 {
			t.Errorf("a benchmark line without a figure: %q, %v", bench.String(), err)
		}
	}
	s := Search{P999: time.Second, Errors: 0.001}
	if got := s.limits(); got != "p99.9 of at most 1s, at most 0.1% errors" {
		t.Errorf("limits: %s", got)
	}
}
