//go:build docker && linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// judged is what `geecache env bench` writes, as far as it is looked at.
type judged struct {
	Partial string
	Tests   []struct {
		ID, State, Evidence string
		Series              []struct {
			Name, Unsupported string
			Samples           []float64
		}
		Counts []struct {
			Name   string
			Values []int
		}
		Facts []struct{ Name, Verdict, Evidence string }
	}
}

// judge measures an environment by some of the judge's tests, each thing once, and fails
// unless all was measured. Nothing is left of it.
func judge(t *testing.T, environment string, env []string, args ...string) *judged {
	t.Helper()
	file := filepath.Join(t.TempDir(), "result.json")
	cmd := exec.CommandContext(t.Context(), geecache, append([]string{"env", "bench", environment, "--name=judge", "--nodes=2", "--times=1",
		"--only=discovery,counts,logs,metrics,network", "--dir=..", "--output=" + file}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r judged
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.Partial != "" || len(r.Tests) != 5 {
		t.Errorf("%d tests were done: %s", len(r.Tests), r.Partial)
	}
	return &r
}

// samples fails unless a series has so many samples, all positive.
func (r *judged) samples(t *testing.T, name string, least int) {
	t.Helper()
	for _, test := range r.Tests {
		for _, s := range test.Series {
			if s.Name == name && len(s.Samples) >= least && slices.Min(s.Samples) > 0 {
				return
			}
		}
	}
	t.Errorf("%s does not have %d samples: %+v", name, least, r.Tests)
}

// count fails unless something was counted once, and found to be so many.
func (r *judged) count(t *testing.T, name string, want int) {
	t.Helper()
	for _, test := range r.Tests {
		for _, c := range test.Counts {
			if c.Name == name && slices.Equal(c.Values, []int{want}) {
				return
			}
		}
	}
	t.Errorf("%s is not %d: %+v", name, want, r.Tests)
}

// fact fails unless something was found to be so, with a word in the evidence.
func (r *judged) fact(t *testing.T, name, verdict, word string) {
	t.Helper()
	for _, test := range r.Tests {
		for _, f := range test.Facts {
			if f.Name == name && f.Verdict == verdict && strings.Contains(f.Evidence, word) {
				return
			}
		}
	}
	t.Errorf("%s is not %q with %q: %+v", name, verdict, word, r.Tests)
}
