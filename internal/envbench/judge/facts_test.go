package judge

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

func TestMergedFacts(t *testing.T) {
	fact := func(verdict string) result.Fact {
		return result.Fact{Name: "x", Verdict: verdict, Evidence: "seen " + verdict}
	}
	for _, tt := range []struct {
		verdicts []string
		want     string
		evidence string
	}{
		{[]string{result.Done, result.Done}, result.Done, "seen done"},
		{[]string{result.Done, result.Accepted, result.Done}, result.Accepted, "of 3 trials: 2 done, 1 accepted but not done; seen accepted but not done"},
		{[]string{result.Unknown, result.Done}, result.Done, "of 2 trials: 1 not tried, 1 done; seen done"},
		{[]string{result.Refused, result.Unknown}, result.Refused, "of 2 trials: 1 not tried, 1 refused; seen refused"},
		{[]string{result.Unknown}, result.Unknown, "seen not tried"},
	} {
		var rounds [][]result.Fact
		for _, v := range tt.verdicts {
			rounds = append(rounds, []result.Fact{fact(v)})
		}
		got := merged(rounds)
		want := result.Fact{Name: "x", Verdict: tt.want, Evidence: tt.evidence}
		if len(tt.verdicts) > 1 {
			want.Times = len(tt.verdicts)
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%v is %+v, want %+v", tt.verdicts, got, want)
		}
	}
}

// A fickle environment does something each second time only.
type fickle struct {
	*stub
	rounds int
}

func (f *fickle) Fidelity(_ context.Context, _ envbench.Deployment, report func(result.Fact)) error {
	f.rounds++
	report(result.Fact{Name: "always", Verdict: result.Done})
	report(result.Fact{Name: "at times", Verdict: []string{result.Done, result.Accepted}[f.rounds%2]})
	return nil
}

func TestFidelityIsTriedAgainAndAgain(t *testing.T) {
	f := &fickle{stub: newStub(t)}
	r, err := Run(t.Context(), f, Config{Environment: "stub", Only: []string{"fidelity"}})
	if err != nil {
		t.Fatal(err)
	}
	facts := r.Test("fidelity").Facts
	if f.rounds != fewest || f.ups != fewest || len(facts) != 2 || facts[0].Times != fewest || facts[0].Verdict != result.Done {
		t.Errorf("%d rounds, %d times up: %+v", f.rounds, f.ups, facts)
	}
	at := slices.IndexFunc(facts, func(f result.Fact) bool { return f.Name == "at times" })
	if at < 0 || facts[at].Verdict != result.Accepted || !strings.Contains(facts[at].Evidence, "of 5 trials: 2 done, 3 accepted but not done") {
		t.Errorf("what is done at times: %+v", facts)
	}
}
