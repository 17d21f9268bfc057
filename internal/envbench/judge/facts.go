package judge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/geecache/geecache/internal/envbench/result"
)

// merged makes one fact of all trials of the same thing. Who relies on something needs it
// each time, so it is as bad as it was at the worst; a trial that went wrong says nothing,
// if others have. What came out differently says so.
func merged(rounds [][]result.Fact) (all []result.Fact) {
	trials := make(map[string][]result.Fact)
	var names []string
	for _, f := range slices.Concat(rounds...) {
		if trials[f.Name] == nil {
			names = append(names, f.Name)
		}
		trials[f.Name] = append(trials[f.Name], f)
	}
	for _, name := range names {
		all = append(all, worst(trials[name]))
	}
	return all
}

// badness are the verdicts from what decides least to what decides most.
var badness = []string{result.Unknown, result.Done, result.Accepted, result.Refused}

// worst returns what several trials of one thing come to.
func worst(trials []result.Fact) result.Fact {
	f, seen := trials[0], make(map[string]int)
	for _, one := range trials {
		seen[one.Verdict]++
		if slices.Index(badness, one.Verdict) > slices.Index(badness, f.Verdict) {
			f = one
		}
	}
	if len(trials) > 1 {
		f.Times = len(trials)
	}
	if len(seen) > 1 {
		var parts []string
		for _, verdict := range badness {
			if n := seen[verdict]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, verdict))
			}
		}
		f.Evidence = fmt.Sprintf("of %d trials: %s; %s", len(trials), strings.Join(parts, ", "), f.Evidence)
	}
	return f
}
