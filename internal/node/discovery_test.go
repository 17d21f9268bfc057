package node

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/registries"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/static"
)

// A list says the weights of all: that of each process itself too.
func TestWeightsInAListMakeOneRing(t *testing.T) {
	list := filepath.Join(t.TempDir(), "peers.json")
	text := `[{"id": "a", "addr": "127.0.0.1:1", "weight": 2}, {"id": "b", "addr": "127.0.0.1:2", "weight": 3}]`
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var epochs []string
	for _, id := range []string{"a", "b"} {
		st := start(t, Config{ID: id, Registry: "file:" + list}).Node().Stats()
		epochs = append(epochs, st.Epoch)
		if len(st.Peers) != 2 || st.Peers[0].Weight != 2 || st.Peers[1].Weight != 3 {
			t.Errorf("the view of %s is %+v", id, st.Peers)
		}
	}
	if epochs[0] != epochs[1] {
		t.Errorf("the rings differ: %v", epochs)
	}
}

// A lonely registry names its one member until that leaves.
type lonely struct {
	one        []registry.Member
	left, seen chan struct{}
}

func (l *lonely) Watch(ctx context.Context) iter.Seq2[[]registry.Member, error] {
	return func(yield func([]registry.Member, error) bool) {
		defer close(l.seen)
		if !yield(l.one, nil) {
			return
		}
		<-l.left
		if ctx.Err() == nil {
			yield(nil, nil)
			<-ctx.Done()
		}
	}
}

func (l *lonely) Register(context.Context, registry.Member) error { return nil }

func (l *lonely) Leave(ctx context.Context) error {
	close(l.left)
	select {
	case <-l.seen:
	case <-ctx.Done():
	}
	return nil
}

// What a registry says once the node has left it is nothing to warn of.
func TestLeavingWarnsOfNothing(t *testing.T) {
	node := start(t, Config{}).Node()
	l := &lonely{static.Peers(node.Stats().Peers[0].Peer), make(chan struct{}), make(chan struct{})}
	var log bytes.Buffer
	d := follow(t.Context(), &registries.Registry{Kind: "lonely", Discoverer: l, Registrar: l}, node, slog.New(slog.NewTextHandler(&log, nil)))
	d.register()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	d.leave(ctx)
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("the log has warnings:\n%s", &log)
	}
}

// slowRegistrar is one that takes a while to notice that nobody waits for it.
type slowRegistrar struct {
	asked chan struct{}
	done  atomic.Bool
}

func (r *slowRegistrar) Register(ctx context.Context, _ registry.Member) error {
	close(r.asked)
	<-ctx.Done()
	for range 100 {
		// What it still does, it does with what is closed next.
		_, _ = os.ReadDir(os.TempDir())
	}
	r.done.Store(true)
	return ctx.Err()
}

func (r *slowRegistrar) Leave(context.Context) error { return nil }

func TestTheRegistryIsClosedAfterAllThatUsesIt(t *testing.T) {
	list, err := static.New(static.Config{Members: static.Peers(start(t, Config{}).Node().Stats().Peers[0].Peer)})
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowRegistrar{asked: make(chan struct{})}
	d := follow(t.Context(), &registries.Registry{Kind: "slow", Discoverer: list, Registrar: slow, Exact: true},
		start(t, Config{}).Node(), slog.New(slog.DiscardHandler))
	d.register()
	<-slow.asked
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if !slow.done.Load() {
		t.Error("an attempt to register is still under way")
	}
}
