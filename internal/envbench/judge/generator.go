package judge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/loadgen"
)

// An order says what the load tool is to send to an API, by a fixed rate until it is
// stopped or in a search. It stands for flags of `geecache load`, and for a configuration of
// its package: see loadFlags and config.
type order struct {
	url, group string

	// Keys are these, or so many of a format; right answers are these values and nothing
	// for all other keys, or of a format.
	keys            []string
	count           int
	keyFormat       string
	values          map[string]string
	valueFormat     string
	warmup, timeout time.Duration // timeout: of one request

	rate   float64
	search *loadgen.Search // instead of rate
}

// forever is longer than any load lasts.
const forever = 24 * time.Hour

// A sent is what came of an order: of a rate or of a search.
type sent struct {
	result *loadgen.Result
	found  *loadgen.MaxRate
}

// A generator sends what an order says until it is through or ctx ends, and leaves nothing
// behind. It tells how it comes on: loadgen.CountingLine, when a rate begins to count, and
// a line for each rate of a search.
type generator func(ctx context.Context, o order, tell func(line string)) (sent, error)

// inProcess is a generator in this process, for systems on which nothing asks another process
// to end, and for tests.
func inProcess(ctx context.Context, o order, tell func(line string)) (s sent, err error) {
	c, err := o.config()
	if err != nil {
		return s, err
	}
	if o.search != nil {
		s.found, err = loadgen.FindMaxRate(ctx, c, *o.search, func(p loadgen.Probe) { tell(p.String()) })
		return s, err
	}
	c.Counting = func() { tell(loadgen.CountingLine) }
	s.result, err = loadgen.Run(ctx, c)
	return s, err
}

// config returns the order as the load tool's package takes it.
func (o *order) config() (loadgen.Config, error) {
	c := loadgen.Config{
		URLs: []string{o.url}, Group: o.group, Warmup: o.warmup, Timeout: o.timeout, Seed: 1,
		Keys: loadgen.Keys{N: o.count, Format: o.keyFormat}, Expect: loadgen.ExpectValues(o.values),
	}
	if o.search == nil {
		c.Rate, c.Duration = o.rate, forever
	}
	for _, key := range o.keys {
		c.Keys.List = append(c.Keys.List, loadgen.WeightedKey{Key: key, Weight: 1})
	}
	var err error
	if o.valueFormat != "" {
		c.Expect, err = loadgen.ExpectFormat(o.valueFormat)
	}
	return c, err
}

// flags returns the order as `geecache load` takes it, with files in dir.
func (o *order) flags(dir string) ([]string, error) {
	flags := []string{"--target=" + o.url, "--seed=1", "--warmup=" + o.warmup.String(), "--timeout=" + o.timeout.String()}
	add := func(name string, value any) { flags = append(flags, fmt.Sprintf("--%s=%v", name, value)) }
	if o.group != "" {
		add("group", o.group)
	}
	if o.count > 0 {
		add("keys", o.count)
		add("key-format", o.keyFormat)
	}
	if len(o.keys) > 0 {
		file := filepath.Join(dir, "keys")
		if err := os.WriteFile(file, []byte(strings.Join(o.keys, "\n")), 0o600); err != nil {
			return nil, err
		}
		add("key-file", file)
	}
	if o.valueFormat != "" {
		add("expect", "sprintf:"+o.valueFormat)
	} else {
		file := filepath.Join(dir, "values")
		if err := writeValues(file, o.values); err != nil {
			return nil, err
		}
		add("expect", "file:"+file)
	}
	if s := o.search; s != nil {
		add("find-max-rate", true)
		add("p99", s.P99)
		add("probe", s.Probe)
		add("precision", s.Precision)
		add("from-rate", s.From)
		add("min-rate", s.Lowest)
		add("max-rate", s.Highest)
	} else {
		add("rate", o.rate)
		add("duration", forever)
	}
	return flags, nil
}
