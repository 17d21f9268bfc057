package judge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/loadgen"
)

const (
	cacheSource = "slowdb:?rows=20000" // 50 ms a query, by its default
	hotKeys     = 1000                 // the first ones; others are fresh until they are asked for
	stampeders  = 300
	hitTimes    = 1000
	missTimes   = 200
	rateLimit   = 5 * time.Millisecond // of the 99th percentile
	rateProbe   = time.Second
	rateWarmup  = 300 * time.Millisecond
	ratePlaces  = 0.1 // how close to the limit the search goes, as a share of the rate
	rateFrom    = 200
	rateLowest  = 50
	rateWithin  = 3 * time.Minute // for one search
)

func cacheTest() test {
	return test{
		id: "cache", title: "The cache at work",
		method: fmt.Sprintf("The source is %s, which takes 50 ms for a query. A stampede is %d callers who ask the API for one fresh key at the same moment, over connections that are there already; "+
			"then the same with callers who ask all nodes in turn. Queries are those that the nodes' own counters tell. hit: %d requests for keys that are in memory; miss: %d for fresh keys; "+
			"one after the other over one connection. max-rate: the load tool's search for the most requests per second for %d keys in memory of which 99%% take at most %v.",
			cacheSource, stampeders, hitTimes, missTimes, hotKeys, rateLimit),
		run: cacheWork,
	}
}

// A cacheBench asks one deployment for keys user:0, user:1, ...
type cacheBench struct {
	*deployment
	one   *caller
	fresh int // the number of the next key that nobody has asked for
}

func cacheWork(ctx context.Context, s *session, t *result.Test) error {
	d := s.Deployment
	d.Source = cacheSource
	up, err := s.begin(ctx, d)
	if err != nil {
		return err
	}
	defer up.asker.Close()
	b := &cacheBench{deployment: up, one: newCaller(up.now.API, 1), fresh: hotKeys}
	defer b.one.close()
	got, err := b.one.get(ctx, userKey(0))
	if err != nil {
		return err
	}
	if got.status == http.StatusNotFound {
		return &envbench.Unsupported{What: "measuring the cache", Evidence: fmt.Sprintf("the deployment's source has no key %s: deploy it with the source %s", userKey(0), cacheSource)}
	}
	return errors.Join(b.stampedes(ctx, t), b.hits(ctx, t), b.misses(ctx, t), b.maxRate(ctx, t))
}

const userFormat = "user:%d"

func userKey(i int) string      { return fmt.Sprintf(userFormat, i) }
func valueOf(key string) string { return "value-of-" + key }

// next returns a key that nobody has asked for.
func (b *cacheBench) next() string {
	b.fresh++
	return userKey(b.fresh - 1)
}

// ask asks the API for a key, whose value must be the right one.
func (b *cacheBench) ask(ctx context.Context, c *caller, key string) (answer, error) {
	got, err := c.get(ctx, key)
	if err == nil && got.value != valueOf(key) {
		err = fmt.Errorf("%s is %.100q (status %d), and not %q", key, got.value, got.status, valueOf(key))
	}
	return got, err
}

// loads returns how many queries all processes have made.
func (b *cacheBench) loads(ctx context.Context) (n int64, err error) {
	for _, m := range b.now.Members {
		v, err := b.asker.View(ctx, m.Addr)
		if err != nil {
			return 0, fmt.Errorf("the counters of %s: %w", m.ID, err)
		}
		for _, g := range v.Groups {
			n += g.Loads()
		}
	}
	return n, nil
}

// stampedes has many callers ask for one key.
func (b *cacheBench) stampedes(ctx context.Context, t *result.Test) error {
	many := newCaller(b.now.API, stampeders)
	defer many.close()
	var nodes []string
	for _, m := range b.now.Members {
		if !m.API {
			nodes = append(nodes, m.Addr)
		}
	}
	ways := []struct {
		name, note string
		ask        func(ctx context.Context, i int, key string) error
	}{
		{"stampede/queries", "callers of the API", func(ctx context.Context, _ int, key string) error {
			_, err := b.ask(ctx, many, key)
			return err
		}},
		{"stampede/queries-at-nodes", "callers of all nodes in turn", func(ctx context.Context, i int, key string) error {
			got, err := b.asker.Value(ctx, nodes[i%len(nodes)], many.group, key)
			if err == nil && got != valueOf(key) {
				err = fmt.Errorf("%s is %.100q at a node, and not %q", key, got, valueOf(key))
			}
			return err
		}},
	}
	return b.repeat(ctx, fmt.Sprintf("stampede of %d", stampeders), func(ctx context.Context, count bool) error {
		for _, w := range ways {
			// Connections are there when it begins.
			if err := together(stampeders, func(i int) error { return w.ask(ctx, i, userKey(0)) }); err != nil {
				return err
			}
			before, err := b.loads(ctx)
			if err != nil {
				return err
			}
			key := b.next()
			if err := together(stampeders, func(i int) error { return w.ask(ctx, i, key) }); err != nil {
				return err
			}
			after, err := b.loads(ctx)
			if err != nil {
				return err
			}
			if count {
				t.AddCount(w.name, int(after-before)).Note = w.note
			}
		}
		if count {
			t.AddCount("stampede/callers", stampeders)
		}
		return nil
	})
}

// together calls do so many times at the same moment, and returns the first error.
func together(n int, do func(i int) error) error {
	begin, errs := make(chan struct{}), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-begin
			errs[i] = do(i)
		})
	}
	close(begin)
	wg.Wait()
	return cmp.Or(errs...)
}

// hits measures requests for what is in memory.
func (b *cacheBench) hits(ctx context.Context, t *result.Test) error {
	b.tell("%d keys are put into memory", hotKeys)
	if err := b.warm(ctx); err != nil {
		return err
	}
	b.tell("%d hits", hitTimes)
	return b.latencies(ctx, t, "hit", hitTimes, func(i int) string { return userKey(i % hotKeys) })
}

// misses measures requests for what nobody has asked for.
func (b *cacheBench) misses(ctx context.Context, t *result.Test) error {
	b.tell("%d misses", missTimes)
	return b.latencies(ctx, t, "miss", missTimes, func(int) string { return b.next() })
}

// latencies asks for keys one after the other, once more than counts.
func (b *cacheBench) latencies(ctx context.Context, t *result.Test, name string, times int, key func(i int) string) error {
	one := result.Series{Name: name, Unit: "ms", Warmups: 1}
	from := make(map[string]int)
	for i := -1; i < times; i++ {
		got, err := b.ask(ctx, b.one, key(max(i, 0)))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if i >= 0 {
			one.Samples = append(one.Samples, milliseconds(got.took))
			from[got.from]++
		}
	}
	one.Note = "one connection that is kept; the API's process had the value " + origins(from)
	t.Series = append(t.Series, one)
	return nil
}

// origins says from where answers came.
func origins(from map[string]int) string {
	words := map[string]string{"hit": "in memory", "hot": "in memory, as a copy of a hot key", "peer": "from the node that owns the key", "load": "from the source"}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(from)) {
		parts = append(parts, fmt.Sprintf("%s %d times", cmp.Or(words[name], "from "+cmp.Or(name, "somewhere")), from[name]))
	}
	return strings.Join(parts, ", ")
}

// warm asks for all hot keys, some at a time.
func (b *cacheBench) warm(ctx context.Context) error {
	const atATime = 20
	c := newCaller(b.now.API, atATime)
	defer c.close()
	return together(atATime, func(i int) error {
		for k := i; k < hotKeys; k += atATime {
			if _, err := b.ask(ctx, c, userKey(k)); err != nil {
				return err
			}
		}
		return nil
	})
}

// errNoRate ends the searches: the first one has found no rate, and took its time.
var errNoRate = errors.New("no rate keeps the limit")

// maxRate searches how many requests a second are answered in time. A search that finds
// no rate is no sample, and the series says so.
func (b *cacheBench) maxRate(ctx context.Context, t *result.Test) error {
	rates := result.Series{Name: "max-rate", Unit: "1/s", Warmups: 1}
	var limit, none string
	searches, without := 0, 0
	err := b.repeat(ctx, "search for the highest rate", func(ctx context.Context, count bool) error {
		found, err := b.search(ctx)
		if err != nil {
			return err
		}
		searches++
		r := found.Confirmed
		switch {
		case r == nil:
			without, none = without+1, cmp.Or(found.Why, fmt.Sprintf("it was not through after %v", rateWithin))
			if !count {
				return errNoRate
			}
			return nil
		case !count:
			return nil
		}
		rates.Samples = append(rates.Samples, found.Rate)
		info := &result.LoadInfo{
			Rate: found.Rate, LagP99: milliseconds(r.Lag.P99), Saturated: r.Saturated, AtLeast: found.AtLeast, Requests: r.Requests, Failed: r.Failed,
			Scheduling: r.Machine.Scheduling,
		}
		if rates.Load == nil || worse(info, rates.Load) {
			rates.Load, limit = info, found.Why
		}
		return nil
	})
	if errors.Is(err, errNoRate) {
		err = nil
	}
	if len(rates.Samples) > 0 {
		rates.Note = fmt.Sprintf("p99 of at most %v; %d keys in memory, evenly asked for; each rate held for %v, the last one for twice as long; the search ended there because %s",
			rateLimit, hotKeys, rateProbe, limit)
	}
	if without > 0 {
		rates.Note += fmt.Sprintf("; %d of %d searches found no rate from %d/s on, because %s", without, searches, rateLowest, none)
		if len(rates.Samples) == 0 {
			rates.Note, rates.Unsupported = "", fmt.Sprintf("no rate from %d/s on has a p99 of at most %v: %s", rateLowest, rateLimit, none)
		}
	}
	if searches > 0 && (len(rates.Samples) > 0 || rates.Unsupported != "") {
		t.Series = append(t.Series, rates)
	}
	return err
}

// search searches once.
func (b *cacheBench) search(ctx context.Context) (*loadgen.MaxRate, error) {
	limited, cancel := context.WithTimeout(ctx, rateWithin)
	defer cancel()
	got, err := b.send(limited, order{
		url: b.now.API + "/api?key={key}&group={group}", group: b.one.group, warmup: rateWarmup, timeout: loadTimeout,
		count: hotKeys, keyFormat: userFormat, valueFormat: valueOf("%s"),
		search: &loadgen.Search{P99: rateLimit, Probe: rateProbe, Precision: ratePlaces, From: rateFrom, Lowest: rateLowest},
	}, func(line string) { b.tell("%s", line) })
	return got.found, cmp.Or(err, ctx.Err())
}

// worse reports whether a says less for its figure than b: the series shows the worst of
// its searches.
func worse(a, b *result.LoadInfo) bool {
	if a.AtLeast != b.AtLeast {
		return a.AtLeast
	}
	return a.LagP99 > b.LagP99
}
