package registries

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/geecache/geecache/registry"
)

// lookWithin bounds one lookup.
const lookWithin = 10 * time.Second

// A Looked is what lookups in a registry have found.
type Looked struct {
	Members []registry.Member `json:"members"` // of the last one
	Took    []time.Duration   `json:"took_ns"` // in the order in which they were done
}

// Look asks a registry n times for its members, one lookup after the other, and once
// before, which is not timed: so connections are there.
func Look(ctx context.Context, r registry.Discoverer, n int) (l Looked, err error) {
	looker, ok := r.(registry.Looker)
	if !ok {
		return l, errors.New("this registry cannot be asked: its members tell each other (see `geecache stats`)")
	}
	for i := 0; i <= n; i++ {
		once, cancel := context.WithTimeout(ctx, lookWithin)
		begun := time.Now()
		l.Members, err = looker.Lookup(once)
		took := time.Since(begun)
		cancel()
		if err != nil {
			return l, fmt.Errorf("lookup %d of %d: %w", i, n, err)
		}
		if i > 0 {
			l.Took = append(l.Took, took)
		}
	}
	return l, nil
}
