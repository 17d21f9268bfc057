package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/node"
)

func TestStatsTellOfTheRegistry(t *testing.T) {
	report := func(id string, r *node.RegistryStatus) nodeReport {
		return nodeReport{ID: id, Status: &memberStatus{NodeStats: geecache.NodeStats{ID: id}, Registry: r}}
	}
	s, err := newClusterStats([]nodeReport{
		report("a", &node.RegistryStatus{Kind: "etcd", AgeSeconds: 1.5}),
		report("b", &node.RegistryStatus{Kind: "etcd", AgeSeconds: 70, Error: "etcd is away"}),
		report("c", nil),
	}, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text := s.text(palette{}, nil)
	for _, want := range []string{"registry etcd: the oldest view is of 1m10s ago\n", "b: registry etcd: etcd is away\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
}
