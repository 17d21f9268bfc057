//go:build unix

package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// An origin is a source that the test itself runs: it knows of each query, and
// how many a key had.
type origin struct {
	server *httptest.Server
	value  func(key string) (value []byte, found bool)
	delay  func(key string) time.Duration

	mu      sync.Mutex // guards what follows
	queries map[string]int
	begun   chan string // if not nil, told of each query as it begins
}

// newOrigin starts an origin. Its value of a key is "value of KEY", and keys
// that begin with "none:" have none.
func newOrigin(t *testing.T, delay time.Duration) *origin {
	t.Helper()
	return startOrigin(t, nil, delay)
}

// startOrigin starts an origin on a listener; nil: one of loopback.
func startOrigin(t *testing.T, l net.Listener, delay time.Duration) *origin {
	t.Helper()
	o := &origin{
		queries: make(map[string]int),
		value: func(key string) ([]byte, bool) {
			return valueOf(key), !strings.HasPrefix(key, "none:")
		},
		delay: func(string) time.Duration { return delay },
	}
	o.server = httptest.NewUnstartedServer(o)
	if l != nil {
		_ = o.server.Listener.Close()
		o.server.Listener = l
	}
	o.server.Start()
	t.Cleanup(o.server.Close)
	return o
}

func valueOf(key string) []byte { return fmt.Appendf(nil, "value of %s", key) }

// url is the source's URL for the program.
func (o *origin) url() string { return o.server.URL + "/?key={key}" }

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("key")
	o.mu.Lock()
	o.queries[key]++
	begun := o.begun
	o.mu.Unlock()
	if begun != nil {
		begun <- key
	}
	if d := o.delay(key); d > 0 {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}
	value, ok := o.value(key)
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(value)
}

// count returns how many queries there were for a key.
func (o *origin) count(key string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queries[key]
}

// log returns how many queries there have been for each key.
func (o *origin) log() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.queries)
}
