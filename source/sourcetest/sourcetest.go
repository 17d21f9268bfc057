// Package sourcetest is the contract that every source keeps, as a test suite.
package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
)

// A Source is what the suite tests.
type Source interface {
	geecache.Getter
	Close() error
}

// A Fixture is a source's backend with room for the suite's values.
type Fixture struct {
	// Open returns a new source of the backend. The suite closes it.
	Open func(t *testing.T) Source

	// Put stores a value in the backend.
	Put func(t *testing.T, key string, value []byte)

	// Holds tells whether the backend can hold the key; nil means any. A Get
	// of a key that it cannot hold must be not found and do no harm.
	Holds func(key string) bool

	// MaxValue is the size of the largest value that the suite stores, in
	// bytes; 0 means 1 MiB.
	MaxValue int

	// OpenSlow returns a source whose Get of any key takes longer than a
	// minute, unless its context ends or it is closed.
	OpenSlow func(t *testing.T) Source

	// Break ends every connection that the sources have to the backend, which
	// goes on; nil if there are none.
	Break func(t *testing.T)
}

// promptly is how soon a source must return once it has been told to: much
// sooner than its slow answer, with room for a busy machine.
const promptly = 20 * time.Second

// Run runs the suite. It calls newFixture once; the fixture's backend must be
// empty or hold other keys than the suite's.
func Run(t *testing.T, newFixture func(t *testing.T) Fixture) {
	f := newFixture(t)
	if f.Holds == nil {
		f.Holds = func(string) bool { return true }
	}
	if f.MaxValue == 0 {
		f.MaxValue = 1 << 20
	}
	t.Run("Values", func(t *testing.T) { testValues(t, f) })
	t.Run("NotFound", func(t *testing.T) { testNotFound(t, f) })
	t.Run("Keys", func(t *testing.T) { testKeys(t, f) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrent(t, f) })
	t.Run("Canceled", func(t *testing.T) { testCanceled(t, f) })
	t.Run("Deadline", func(t *testing.T) { testDeadline(t, f) })
	t.Run("Close", func(t *testing.T) { testClose(t, f) })
	t.Run("CloseWhileSlow", func(t *testing.T) { testCloseWhileSlow(t, f) })
	if f.Break != nil {
		t.Run("BrokenConnections", func(t *testing.T) { testBroken(t, f) })
	}
}

// Server returns the address of a real server that a test needs, which is in
// the environment variable. Without it the test is skipped, or fails where
// the servers are required: in CI, or with GEECACHE_TEST_SERVERS=1.
func Server(t *testing.T, variable string) string {
	t.Helper()
	if value := os.Getenv(variable); value != "" {
		return value
	}
	const remedy = `%s is not set; run eval "$(scripts/test-servers up)"`
	if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
		t.Fatalf(remedy, variable)
	}
	t.Skipf(remedy, variable)
	return ""
}

func (f Fixture) open(t *testing.T, open func(t *testing.T) Source) Source {
	t.Helper()
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

func wantValue(t *testing.T, s Source, key string, want []byte) {
	t.Helper()
	v, err := s.Get(t.Context(), key)
	if err != nil {
		t.Errorf("Get(%s) = %v, want a value of %d bytes", name(key), err, len(want))
	} else if !bytes.Equal(v.Bytes, want) {
		t.Errorf("Get(%s) = %d bytes, %.40q; want %d bytes, %.40q", name(key), len(v.Bytes), v.Bytes, len(want), want)
	}
}

func wantNotFound(t *testing.T, s Source, key string) {
	t.Helper()
	if v, err := s.Get(t.Context(), key); !errors.Is(err, geecache.ErrNotFound) {
		t.Errorf("Get(%s) = %.40q, %v; want ErrNotFound", name(key), v.Bytes, err)
	}
}

// name quotes a key, shortened, for a message.
func name(key string) string {
	if len(key) > 40 {
		return fmt.Sprintf("%q... of %d bytes", key[:40], len(key))
	}
	return fmt.Sprintf("%q", key)
}

func testValues(t *testing.T, f Fixture) {
	s := f.open(t, f.Open)
	large := bytes.Repeat([]byte("0123456789abcdef"), f.MaxValue/16)
	for key, value := range map[string][]byte{
		"Tom":         []byte("630"),
		"empty value": {},
		"spaces":      []byte(" padded \r\n"),
		"text":        []byte("Größe 漢字 \U0001f642"),
		"large":       large,
	} {
		f.Put(t, key, value)
		wantValue(t, s, key, value)
		wantValue(t, s, key, value) // on a connection that has been used
	}

	// The cache takes the bytes over: two answers must not share them.
	a, errA := s.Get(t.Context(), "Tom")
	b, errB := s.Get(t.Context(), "Tom")
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	a.Bytes[0] = 'X'
	if string(b.Bytes) != "630" {
		t.Error("two answers share their bytes")
	}
	wantValue(t, s, "Tom", []byte("630"))
}

func testNotFound(t *testing.T, f Fixture) {
	s := f.open(t, f.Open)
	f.Put(t, "there", []byte("x"))
	for _, key := range []string{"kkk", "ther", "there ", " there", "there/", "%74here", "' OR '1'='1", "%", "_____"} {
		wantNotFound(t, s, key)
	}
}

// Keys returns keys of all the kinds that a cache is asked for.
func Keys() []string {
	return []string{
		"", ".", "..", "...", "/", "a/b", "/a", "a/", "../a", "%2F", "%2e%2e", "a%2Fb", "%", "a b", "a+b", " ", "?", "a?b=c",
		"a&b", "#", "a#b", "{key}", "//host/path", "http://host/", "@host", ":80", ";", "'", "\"", "\\", "$1", "`", "--", "\r\n",
		"a\r\nb: c", "\x00", "a\x00b", "\x7f", "\xff", "\xc3\x28", "a\xfe\xffb", "é", "漢字", "\U0001f642", "\ufeff",
		strings.Repeat("k", 8<<10), strings.Repeat("é", 4<<10), strings.Repeat("\xff", 8<<10),
	}
}

func testKeys(t *testing.T, f Fixture) {
	s := f.open(t, f.Open)
	value := func(key string) []byte { return []byte("the value of " + name(key)) }
	for _, key := range Keys() {
		wantNotFound(t, s, key)
	}
	for _, key := range Keys() {
		if f.Holds(key) {
			f.Put(t, key, value(key))
		}
	}
	f.Put(t, "after", []byte("fine"))
	for _, key := range Keys() {
		if f.Holds(key) {
			wantValue(t, s, key, value(key))
		} else {
			wantNotFound(t, s, key)
		}
		wantValue(t, s, "after", []byte("fine"))
	}
}

func testConcurrent(t *testing.T, f Fixture) {
	const callers, keys = 64, 16
	for i := range keys {
		f.Put(t, fmt.Sprintf("concurrent-%d", i), fmt.Appendf(nil, "value %d", i))
	}
	s := f.open(t, f.Open)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range keys {
				i = (i + c) % keys
				wantValue(t, s, fmt.Sprintf("concurrent-%d", i), fmt.Appendf(nil, "value %d", i))
			}
			wantNotFound(t, s, "kkk")
		})
	}
	wg.Wait()
}

func testCanceled(t *testing.T, f Fixture) {
	s := f.open(t, f.OpenSlow)
	for _, when := range []time.Duration{0, 50 * time.Millisecond} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(when, cancel)
		if when == 0 {
			cancel()
		}
		start := time.Now()
		if _, err := s.Get(ctx, "Tom"); !errors.Is(err, context.Canceled) {
			t.Errorf("Get, canceled after %v, = %v; want Canceled", when, err)
		}
		if took := time.Since(start); took > promptly {
			t.Errorf("Get, canceled after %v, returned after %v", when, took)
		}
	}
}

func testDeadline(t *testing.T, f Fixture) {
	s := f.open(t, f.OpenSlow)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := s.Get(ctx, "Tom"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get past its deadline = %v; want DeadlineExceeded", err)
	}
	if took := time.Since(start); took > promptly {
		t.Errorf("Get with a deadline of 50ms returned after %v", took)
	}
}

func testClose(t *testing.T, f Fixture) {
	s := f.Open(t)
	f.Put(t, "closed", []byte("x"))
	wantValue(t, s, "closed", []byte("x"))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	v, err := s.Get(t.Context(), "closed")
	if err == nil || errors.Is(err, geecache.ErrNotFound) {
		t.Errorf("Get after Close = %q, %v; want an error that is not ErrNotFound", v.Bytes, err)
	}
}

func testCloseWhileSlow(t *testing.T, f Fixture) {
	s := f.OpenSlow(t)
	got := make(chan error, 1)
	go func() {
		_, err := s.Get(t.Context(), "Tom")
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("Get of a slow source = %v at once; the fixture is wrong", err)
	case <-time.After(100 * time.Millisecond): // let it begin, most likely
	}
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	err := <-got
	if err == nil || errors.Is(err, geecache.ErrNotFound) {
		t.Errorf("Get of a source that is closed meanwhile = %v; want an error that is not ErrNotFound", err)
	}
	if took := time.Since(start); took > promptly {
		t.Errorf("Get returned %v after Close", took)
	}
}

func testBroken(t *testing.T, f Fixture) {
	s := f.open(t, f.Open)
	f.Put(t, "broken", []byte("x"))
	for range 3 {
		var wg sync.WaitGroup
		for range 8 { // several connections in the pool
			wg.Go(func() { wantValue(t, s, "broken", []byte("x")) })
		}
		wg.Wait()
		f.Break(t)
		for range 8 {
			wantValue(t, s, "broken", []byte("x"))
		}
	}
}
