package driver

import (
	"slices"
	"testing"

	"github.com/geecache/geecache/benchmarks/internal/suite"
)

func TestOrderAlternates(t *testing.T) {
	for rep, want := range [][]int{{0, 1, 2}, {2, 1, 0}, {0, 1, 2}} {
		if got := order(3, rep); !slices.Equal(got, want) {
			t.Errorf("repetition %d: %v, want %v", rep, got, want)
		}
	}
}

func TestTurns(t *testing.T) {
	tests := []struct {
		reps, peerReps int // of the group
		want           [2]int
	}{
		{0, 0, [2]int{10, 10}}, {3, 0, [2]int{3, 3}}, {0, 1, [2]int{10, 1}}, {3, 5, [2]int{3, 3}}, {20, 20, [2]int{10, 10}},
	}
	for _, tt := range tests {
		g := suite.Group{Reps: tt.reps, PeerReps: tt.peerReps, Points: make([]suite.Point, 2), Subjects: make([]suite.Subject, 2)}
		if got := [2]int{turns(g, 0, 10), turns(g, 1, 10)}; got != tt.want {
			t.Errorf("Reps %d, PeerReps %d: %v turns, want %v", tt.reps, tt.peerReps, got, tt.want)
		}
		if got, want := count([]suite.Group{g}, 10), 2*(tt.want[0]+tt.want[1]); got != want {
			t.Errorf("count = %d, want %d", got, want)
		}
	}
}
