//go:build chaos && linux

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What values of the keys are like: "fresh:" keys have a TTL, all others none.
const (
	freshTTL  = 2 * time.Second
	hotTTL    = 3 * time.Second // the program's default
	bigValue  = 64 << 10        // of the keys "big:"
	readGrace = time.Second     // what a load and the way of its answer may take
)

// A truth is the source: a value is a function of its key and of the millisecond in
// which it was read, so that every answer tells whether it is right and how old.
type truth struct {
	began    time.Time
	delay    atomic.Int64 // of each load, a time.Duration
	listener net.Listener
	server   *http.Server

	mu    sync.Mutex                // guards what follows
	loads map[string]map[string]int // by key and by who asked
	spans map[string][]span         // by who asked
}

// A span is a load's, on the clock of the truth. end is 0 while it runs.
type span struct{ begin, end time.Duration }

// heard is how soon the source hears, at the latest, that a load was given up.
const heard = 500 * time.Millisecond

func newTruth(t *testing.T, host string) *truth {
	t.Helper()
	s := &truth{
		began: time.Now(),
		loads: make(map[string]map[string]int), spans: make(map[string][]span),
	}
	s.delay.Store(int64(5 * time.Millisecond))
	s.listen(t, host+":0")
	t.Cleanup(func() { _ = s.server.Close() })
	return s
}

func (s *truth) listen(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.listener, s.server = l, &http.Server{Handler: s}
	go func() { _ = s.server.Serve(l) }()
}

// url is the source's URL for a process.
func (s *truth) url(who string) string {
	return fmt.Sprintf("http://%s/%s?key={key}", s.listener.Addr(), who)
}

func (s *truth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, who := r.URL.Query().Get("key"), strings.TrimPrefix(r.URL.Path, "/")
	began := time.Since(s.began)
	at := began.Milliseconds()
	number := s.enter(key, who, began)
	select {
	case <-time.After(time.Duration(s.delay.Load())):
		defer func() { s.leave(who, number, time.Since(s.began)) }()
	case <-r.Context().Done():
		s.leave(who, number, max(began+1, time.Since(s.began)-heard))
		return
	}
	if strings.HasPrefix(key, "fresh:") {
		w.Header().Set("Cache-Control", fmt.Sprintf("max-age=%d", int(freshTTL.Seconds())))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.WriteString(w, valueAt(key, at))
}

func (s *truth) enter(key, who string, at time.Duration) (number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loads[key] == nil {
		s.loads[key] = make(map[string]int)
	}
	s.loads[key][who]++
	s.spans[who] = append(s.spans[who], span{begin: at})
	return len(s.spans[who]) - 1
}

func (s *truth) leave(who string, number int, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans[who][number].end = at
}

// valueAt is the value of a key that was read at a time.
func valueAt(key string, at int64) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s@%d", key, at)
	v := fmt.Sprintf("%d %x", at, h.Sum64())
	if strings.HasPrefix(key, "big:") {
		v += strings.Repeat(".", bigValue-len(v))
	}
	return v
}

// readAt returns when an answer was read, or an error if it is not the key's.
func (s *truth) readAt(key, value string) (time.Duration, error) {
	text, _, _ := strings.Cut(value, " ")
	at, err := strconv.ParseInt(text, 10, 64)
	if now := time.Since(s.began).Milliseconds(); err != nil || at > now || value != valueAt(key, at) {
		return 0, fmt.Errorf("%s: %.60q is no value of it", key, value)
	}
	return time.Duration(at) * time.Millisecond, nil
}

// total returns how often the keys with a prefix were loaded at most, by all and by one
// process, and in all.
func (s *truth) total(prefix string) (most, mostOfOne, all int, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, by := range s.loads {
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		n := 0
		for _, c := range by {
			n += c
			mostOfOne = max(mostOfOne, c)
		}
		if n > most {
			most, key = n, fmt.Sprintf("%s: %v", k, by)
		}
		all += n
	}
	return most, mostOfOne, all, key
}

// by returns how many loads there were by one process.
func (s *truth) by(who string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.spans[who]))
}

// atOnce returns the most loads at a time that one process has had.
func (s *truth) atOnce() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type change struct {
		at time.Duration
		by int
	}
	for _, spans := range s.spans {
		var changes []change
		for _, p := range spans {
			changes = append(changes, change{p.begin, 1})
			if p.end > p.begin {
				changes = append(changes, change{p.end, -1})
			}
		}
		slices.SortFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), a.by-b.by) })
		running := 0
		for _, c := range changes {
			running += c.by
			most = max(most, running)
		}
	}
	return most
}

// An answer is what the recorder keeps of a request.
type answer struct {
	began, took time.Duration // since the truth's beginning
	kept        bool          // of a key without a TTL that was asked for before
	hit         bool          // from a node's memory, not from the source
}

// A recorder asks the API servers by turns, and checks every answer.
type recorder struct {
	truth  *truth
	apis   []string // URLs
	token  string
	client *http.Client
	turn   atomic.Int64

	mu                         sync.Mutex // guards what follows
	answers                    []answer
	failed, wrong, stale, told int // told: keys that nobody can answer, and an error that says so
	oldest                     time.Duration
	examples                   []string
	mayFail                    func(key string) bool // whether a clear error is a right answer now
}

// ask is a [loadgen.Config.Do].
func (r *recorder) ask(ctx context.Context, key string) error {
	api := r.apis[int(r.turn.Add(1))%len(r.apis)]
	began := time.Since(r.truth.began)
	r.mu.Lock()
	mayFail := r.mayFail // while it waits, this may change
	r.mu.Unlock()
	resp, body, err := r.get(ctx, api+"/api?group=scores&key="+url.QueryEscape(key))
	took := time.Since(r.truth.began) - began
	if ctx.Err() == context.Canceled {
		return ctx.Err() // the load has ended
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := answer{began: began, took: took, kept: strings.HasPrefix(key, "kept:")}
	defer func() { r.answers = append(r.answers, a) }()
	if err != nil {
		return r.failLocked(&r.failed, began, fmt.Errorf("%s of %s: %w", key, api, err))
	}
	code := resp.Header.Get("Geecache-Error")
	if resp.StatusCode != http.StatusOK {
		if code != "" && mayFail != nil && mayFail(key) {
			r.told++
			return nil
		}
		return r.failLocked(&r.failed, began, fmt.Errorf("%s of %s: %s, %s: %.200s", key, api, resp.Status, code, body))
	}
	at, err := r.truth.readAt(key, string(body))
	if err != nil {
		return r.failLocked(&r.wrong, began, err)
	}
	from := resp.Header.Get("Geecache-From") + resp.Header.Get("Geecache-Peer-From")
	a.hit = from != "" && !strings.HasSuffix(from, "load")
	if strings.HasPrefix(key, "fresh:") {
		age := began - at
		r.oldest = max(r.oldest, age)
		if age > freshTTL+hotTTL+readGrace {
			return r.failLocked(&r.stale, began, fmt.Errorf("%s of %s: it is %v old: %v", key, api, age, resp.Header))
		}
	}
	return nil
}

func (r *recorder) failLocked(count *int, began time.Duration, err error) error {
	*count++
	if len(r.examples) < 10 {
		r.examples = append(r.examples, fmt.Sprintf("at %v: %v", began.Round(time.Millisecond), err))
	}
	return err
}

func (r *recorder) get(ctx context.Context, target string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// now is the time on the recorder's clock.
func (r *recorder) now() time.Duration { return time.Since(r.truth.began) }

// setMayFail says for which keys a clear error is a right answer from now on.
func (r *recorder) setMayFail(f func(key string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mayFail = f
}

// longWait is of an answer that has waited for somebody who does not answer.
const longWait = 300 * time.Millisecond

// untilOut returns how long after a fault the last request ended that had waited for it.
func (r *recorder) untilOut(fault, end time.Duration) (out time.Duration, waited int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.answers {
		if done := a.began + a.took; done >= fault && a.began < end && a.took > longWait {
			out, waited = max(out, done-fault), waited+1
		}
	}
	return out, waited
}

// hits returns the share of hits among the keys without a TTL: before a moment, and
// the least of any second after it, with the requests in that second.
func (r *recorder) hits(fault time.Duration) (before, least float64, of int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	type window struct{ hits, all int }
	var first window
	var after []window
	for _, a := range r.answers {
		if !a.kept {
			continue
		}
		w := &first
		if a.began >= fault {
			i := int((a.began - fault) / time.Second)
			for len(after) <= i {
				after = append(after, window{})
			}
			w = &after[i]
		}
		w.all++
		if a.hit {
			w.hits++
		}
	}
	share := func(w window) float64 { return float64(w.hits) / float64(max(w.all, 1)) }
	before, least = share(first), 2
	for _, w := range after {
		if s := share(w); w.all >= 50 && s < least {
			least, of = s, w.all
		}
	}
	return before, min(least, 1), of
}
