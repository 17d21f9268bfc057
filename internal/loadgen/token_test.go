package loadgen

import (
	"context"
	"log/slog"
	"testing"

	"github.com/geecache/geecache/geecache"
)

func TestPeerProtocolOfAGuardedNode(t *testing.T) {
	secrets := func() []string { return []string{"a secret of many random bytes..."} }
	n, err := geecache.New(geecache.Config{Listen: "127.0.0.1:0", Secrets: secrets, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	_, err = n.NewGroup("g", geecache.GetterFunc(func(_ context.Context, key string) (geecache.Value, error) {
		return geecache.Value{Bytes: []byte(key)}, nil
	}), geecache.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		secrets func() []string
		failed  int64
	}{{secrets, 0}, {nil, 20}} {
		r, err := Run(t.Context(), Config{
			URLs: []string{"http://" + n.Addr() + "/_geecache"}, Group: "g", Callers: 2, Count: 20,
			HTTP: HTTPOptions{Secrets: test.secrets},
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Requests != 20 || r.Failed != test.failed {
			t.Errorf("secrets %v: %d of %d requests failed, want %d", test.secrets != nil, r.Failed, r.Requests, test.failed)
		}
	}
}
