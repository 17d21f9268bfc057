package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/geecache"
)

const topLong = `top shows the keys that nodes answered most from memory, all nodes together.

The counts are estimates from a sample: each node looks at one of 64 hits. HITS
is the sum over the nodes, NODES is how many of them hold the key among theirs.`

const topExample = `  geecache top
  geecache top -n 5 --watch
  geecache top --group scores --json`

// maxTop is the largest -n: nodes follow no more keys than a few thousand.
const maxTop = 10_000

type topFlags struct {
	clientFlags
	group    string
	n        int
	watch    bool
	interval time.Duration
}

// newTopCommand returns `geecache top`.
func newTopCommand() *cobra.Command {
	var f topFlags
	cmd := &cobra.Command{
		Use:     "top",
		Short:   "Show the keys that are asked for most",
		Long:    topLong,
		Example: topExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failed(f.run(cmd.Context(), cmd.OutOrStdout()))
		},
	}
	f.register(cmd, 5*time.Second)
	cmd.Flags().StringVar(&f.group, "group", "scores", "group of the keys")
	cmd.Flags().IntVarP(&f.n, "number", "n", 20, "how many keys to show")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "repeat until Ctrl-C, with rates")
	cmd.Flags().DurationVar(&f.interval, "interval", time.Second, "time between two looks of --watch")
	return cmd
}

func (f *topFlags) run(ctx context.Context, out io.Writer) error {
	if f.n < 1 || f.n > maxTop {
		return usagef("-n: %d: use 1 to %d", f.n, maxTop)
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	p := paletteFor(out)
	var before *topView
	draw := func(ctx context.Context) (string, error) {
		now, err := f.look(ctx, c)
		if err != nil {
			return "", err
		}
		defer func() { before = now }()
		if f.json {
			text, err := json.Marshal(now.cut(f.n))
			return string(text) + "\n", err
		}
		return now.text(p, before, f.n), nil
	}
	if f.watch {
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return watch(ctx, out, f.interval, draw)
	}
	text, err := draw(ctx)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

// topKeys is what /topz answers.
type topKeys struct {
	Group string              `json:"group"`
	Keys  []geecache.KeyCount `json:"keys"`
}

// A topKey is a key with its count, over all nodes.
type topKey struct {
	Key   string `json:"key"`
	Count int64  `json:"count"`
	Nodes int    `json:"nodes"`
}

// A topView is one look at all nodes.
type topView struct {
	Time   time.Time `json:"time"`
	Group  string    `json:"group"`
	Keys   []topKey  `json:"keys"`
	Errors []string  `json:"errors,omitempty"` // nodes that did not answer
}

// look asks all nodes, and merges their counts. A node can only tell its own
// hottest keys, so it is asked for more than are shown.
func (f *topFlags) look(ctx context.Context, c *client) (*topView, error) {
	reports, err := c.cluster(ctx)
	if err != nil {
		return nil, err
	}
	query := url.Values{"n": {strconv.Itoa(max(10*f.n, 100))}, "group": {f.group}}.Encode()
	tops, errs := make([]topKeys, len(reports)), make([]error, len(reports))
	var wg sync.WaitGroup
	for i := range reports {
		r := &reports[i]
		if r.Status == nil {
			errs[i] = errors.New(r.Error)
			continue
		}
		wg.Go(func() { errs[i] = r.client.getJSON(ctx, "/topz", query, &tops[i]) })
	}
	wg.Wait()
	v := &topView{Time: time.Now(), Group: f.group}
	answered := false
	for i, err := range errs {
		if err != nil {
			v.Errors = append(v.Errors, reports[i].ID+": "+err.Error())
		} else {
			answered = true
		}
	}
	if !answered {
		return nil, errors.Join(errs...)
	}
	v.Keys = mergeTop(tops)
	return v, nil
}

// mergeTop adds up the counts of nodes, most first.
func mergeTop(tops []topKeys) []topKey {
	sums := make(map[string]*topKey)
	for _, top := range tops {
		for _, k := range top.Keys {
			s := sums[k.Key]
			if s == nil {
				s = &topKey{Key: k.Key}
				sums[k.Key] = s
			}
			s.Count += k.Count
			s.Nodes++
		}
	}
	keys := make([]topKey, 0, len(sums))
	for _, s := range sums {
		keys = append(keys, *s)
	}
	slices.SortFunc(keys, func(a, b topKey) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Key, b.Key))
	})
	return keys
}

// cut returns the view with the first n keys.
func (v *topView) cut(n int) *topView {
	c := *v
	c.Keys = v.Keys[:min(n, len(v.Keys))]
	return &c
}

// text draws a table; with rates, if there is an earlier look.
func (v *topView) text(p palette, before *topView, n int) string {
	var b strings.Builder
	t := newTable(0, 1, 2)
	head := []string{"HITS", "SHARE", "NODES", "KEY"}
	old := make(map[string]int64)
	if before != nil {
		t = newTable(0, 1, 2, 3)
		head = []string{"HITS", "RATE", "SHARE", "NODES", "KEY"}
		for _, k := range before.Keys {
			old[k.Key] = k.Count
		}
	}
	t.head(p, head...)
	var sum int64
	for _, k := range v.Keys {
		sum += k.Count
	}
	for _, k := range v.Keys[:min(n, len(v.Keys))] {
		row := []string{countText(k.Count), percentText(k.Count, sum), strconv.Itoa(k.Nodes), keyText(k.Key)}
		if before != nil {
			rate := rateText(max(k.Count-old[k.Key], 0), v.Time.Sub(before.Time))
			row = slices.Insert(row, 1, rate)
		}
		t.row(row...)
	}
	t.write(&b)
	if len(v.Keys) == 0 {
		b.WriteString("no hits yet, or too few for the sample\n")
	}
	for _, text := range v.Errors {
		b.WriteString(p.red(text) + "\n")
	}
	return b.String()
}
