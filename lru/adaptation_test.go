package lru

import (
	"fmt"
	"testing"
)

func TestAdaptationBegins(t *testing.T) {
	for _, tt := range []struct {
		entries int
		rate    uint
		planned int
	}{{0, 0, 1}, {1, 0, 1}, {127, 0, 127}, {128, 1, 64}, {255, 1, 127}, {5000, 6, 78}, {65_536, 6, 1024}, {65_600, 7, 512}, {1 << 20, 10, 1024}, {100_000_000, 17, 762}} {
		a := new(adaptation)
		a.init(64 << 20)
		if a.samples(1) || a.samples(^uint64(0)) {
			t.Error("keys are sampled before there are shadows")
		}
		a.beginLocked(tt.entries)
		if a.rate != tt.rate || a.planned != tt.planned || a.shadows[4].own.most != 64<<20>>tt.rate {
			t.Errorf("%d entries: one of 2^%d keys, %d entries a shadow of %d bytes, want 2^%d and %d",
				tt.entries, a.rate, a.planned, a.shadows[4].own.most, tt.rate, tt.planned)
		}
		const keys = 1 << 20
		sampled := 0
		for i := range uint64(keys) {
			if a.samples(i * 0xd6e8feb86659fd93) {
				sampled++
			}
		}
		if want := keys >> tt.rate; sampled < want*2/3 || sampled > want*4/3 {
			t.Errorf("%d entries: %d of %d keys are sampled, want about %d", tt.entries, sampled, keys, want)
		}
	}
}

func TestAdaptationGoesOneStep(t *testing.T) {
	a := new(adaptation)
	a.init(1 << 20)
	look := func(hits ...int) {
		copy(a.hits[:], hits)
		a.period = 1000
		a.chooseLocked()
	}
	for i, want := range []int32{0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4} { // three looks a step
		look(100, 100, 100, 100, 500)
		if way := a.way.Load(); way != want {
			t.Errorf("look %d: setting %d, want %d", i, way, want)
		}
	}
	if a.hits != [numSettings]int{} || a.period != 0 {
		t.Errorf("%v hits of %d are left", a.hits, a.period)
	}
	for range 200 { // what was is forgotten
		look(510, 500, 500, 500, 509)
	}
	if way := a.way.Load(); way != 4 {
		t.Errorf("a lead of less than 1%% moves to setting %d", way)
	}
	for range 200 {
		look(600, 500, 500, 500, 500)
	}
	if way := a.way.Load(); way != 0 {
		t.Errorf("setting %d, want 0", way)
	}
}

// What a setting gains in a burst, and loses again, does not move to it.
func TestAdaptationWaitsForMoreThanABurst(t *testing.T) {
	a := new(adaptation)
	a.init(1 << 20)
	for i := range 100 {
		a.hits = [numSettings]int{500, 450, 450, 450, 450, 450}
		if i%10 == 0 {
			a.hits[5] = 850
		}
		a.period = 1000
		a.chooseLocked()
		if way := a.way.Load(); way != 0 {
			t.Fatalf("look %d: setting %d", i, way)
		}
	}
}

// When the entries have got another size, the shadows are made anew, so that they
// are neither a handful of entries nor most of the cache.
func TestAdaptationFollowsTheSizeOfEntries(t *testing.T) {
	t.Parallel()
	c, err := New(Config{MaxBytes: 2 << 20, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	values := make([]byte, 100_000)
	add := func(bytes int) {
		for end := i + 10_000; i < end; i++ {
			key := fmt.Sprint(i / 2)
			if err := c.Add(uint64(i/2+1)*0xd6e8feb86659fd93, key, Item{Value: values[:bytes]}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range []int{50, 20_000, 1000, 100_000, 0} {
		add(n)
		a := &c.adapt
		held := a.shadows[a.way.Load()].entries // of the others nobody knows what they should hold
		if a.rate > 0 && held < shadowLeast/8 || held > 2*shadowMost {
			t.Errorf("values of %d bytes: the shadow holds %d entries, of 1 of 2^%d keys", n, held, a.rate)
		}
		for w := range a.shadows {
			if used := a.shadows[w].own.used.Load(); used > a.shadows[w].own.most {
				t.Errorf("values of %d bytes: shadow %d has %d bytes, of %d", n, w, used, a.shadows[w].own.most)
			}
		}
		t.Logf("values of %d bytes: 1 of 2^%d keys, %d planned, shadows hold %d and %d, the cache %d", n, a.rate, a.planned, a.shadows[0].entries, a.shadows[4].entries, c.Stats().Entries)
	}
}

// A hit does not wait for those who work on samples, and notes no more than there is
// room for.
func TestHitWaitsForNoSample(t *testing.T) {
	c, err := New(Config{MaxBytes: 100 * charge(8), Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(50) {
		if err := c.Add(i, fmt.Sprint(i), Item{}); err != nil {
			t.Fatal(err)
		}
	}
	if !c.adapt.samples(7) {
		t.Fatal("not every key of a small cache is sampled")
	}
	c.adapt.busy.Lock()
	before := len(c.adapt.noted)
	if c.Get(7, "7") == nil {
		t.Error("a miss")
	}
	if n := len(c.adapt.noted); n != before {
		t.Errorf("%d samples are noted by one who does not hold the lock", n-before)
	}
	c.adapt.busy.Unlock()
	for range 3 * notedMost {
		c.Get(7, "7")
	}
	if n := len(c.adapt.noted); n != notedMost || !c.adapt.full.Load() {
		t.Errorf("%d samples are noted, full is %v", n, c.adapt.full.Load())
	}
	if err := c.Add(mix, "again", Item{}); err != nil {
		t.Fatal(err)
	}
	if n := len(c.adapt.noted); n != 0 || c.adapt.full.Load() {
		t.Errorf("after an Add %d samples are noted", n)
	}
}
