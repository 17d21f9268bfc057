package registries

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
)

// A listed registry answers with a member, or with an error from the failing-th time on.
type listed struct{ asked, failing int }

func (*listed) Watch(context.Context) iter.Seq2[[]registry.Member, error] { return nil }

func (l *listed) Lookup(context.Context) ([]registry.Member, error) {
	if l.asked++; l.failing > 0 && l.asked >= l.failing {
		return nil, errors.New("out of order")
	}
	return []registry.Member{{Peer: geecache.Peer{ID: "a"}}}, nil
}

func TestLook(t *testing.T) {
	r := &listed{}
	got, err := Look(t.Context(), r, 3)
	if err != nil || len(got.Took) != 3 || len(got.Members) != 1 || r.asked != 4 {
		t.Errorf("Look() = %+v, %v after %d lookups; want 3 that count, and one before", got, err, r.asked)
	}
	got, err = Look(t.Context(), &listed{failing: 3}, 5)
	if err == nil || !strings.Contains(err.Error(), "lookup 2 of 5") || len(got.Took) != 1 {
		t.Errorf("Look() = %+v, %v; want one that counts, and the error of the next", got, err)
	}
	if _, err := Look(t.Context(), struct{ registry.Discoverer }{r}, 1); err == nil || !strings.Contains(err.Error(), "cannot be asked") {
		t.Errorf("a registry that cannot be asked: %v", err)
	}
}
