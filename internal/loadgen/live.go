package loadgen

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A LiveView draws snapshots on a terminal, one over the other. It is not safe
// for concurrent use; [Config.Progress] calls it from one goroutine.
type LiveView struct {
	w     io.Writer
	lines int // of the block on the screen
}

// NewLiveView returns a view that draws on w, which should be a terminal that
// understands ANSI escapes.
func NewLiveView(w io.Writer) *LiveView { return &LiveView{w: w} }

// Draw replaces the block on the screen by one for s. A terminal that cannot be
// written to is nothing to stop a measurement for.
func (v *LiveView) Draw(s Snapshot) {
	var b strings.Builder
	v.eraseInto(&b)
	text := s.String()
	b.WriteString(text)
	v.lines = strings.Count(text, "\n")
	_, _ = io.WriteString(v.w, b.String())
}

// Clear removes the block.
func (v *LiveView) Clear() {
	var b strings.Builder
	v.eraseInto(&b)
	v.lines = 0
	_, _ = io.WriteString(v.w, b.String())
}

// eraseInto writes what moves to the start of the block and erases it.
func (v *LiveView) eraseInto(b *strings.Builder) {
	if v.lines > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r\x1b[J", v.lines)
	}
}

// String returns the snapshot as a few lines of at most 80 columns.
func (s Snapshot) String() string {
	var b strings.Builder
	elapsed := s.Elapsed.Round(100 * time.Millisecond)
	if s.Part != "" {
		b.WriteString(s.Part + ": ")
	}
	switch {
	case s.Elapsed < 0:
		fmt.Fprintf(&b, "%s, warming up for another %s\n", s.Mode, -elapsed)
	case s.Planned > 0:
		fmt.Fprintf(&b, "%s, %s of %s\n", s.Mode, elapsed, s.Planned)
	default:
		fmt.Fprintf(&b, "%s, %s\n", s.Mode, elapsed)
	}
	rate := trim(s.Rate) + "/s"
	if s.TargetRate > 0 {
		rate += " of " + trim(s.TargetRate) + "/s"
	}
	fmt.Fprintf(&b, "rate     %s   outstanding %d   done %d   failed %d\n", rate, s.Outstanding, s.Done, s.Failed)
	fmt.Fprintf(&b, "latency  p50 %s   p99 %s   p99.9 %s   max %s\n",
		short(s.Latency.P50), short(s.Latency.P99), short(s.Latency.P999), short(s.Latency.Max))
	lag := "lag      p99 " + short(s.LagP99)
	if s.LagP99 >= SaturatedLag {
		lag += "   generator saturated"
	}
	fmt.Fprintln(&b, lag)
	if t := s.Trace; t != nil {
		fmt.Fprintf(&b, "trace    %s\n", t)
	}
	values := make([]time.Duration, len(s.Seconds))
	for i, sec := range s.Seconds {
		values[i] = sec.P99
	}
	fmt.Fprintf(&b, "p99 by second  %s\n", sparkline(values))
	return b.String()
}

// sparkline draws durations as bars, the longest as a full one.
func sparkline(values []time.Duration) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	var longest time.Duration
	for _, v := range values {
		longest = max(longest, v)
	}
	var b strings.Builder
	for _, v := range values {
		i := 0
		if longest > 0 {
			i = int(int64(v) * int64(len(bars)-1) / int64(longest))
		}
		b.WriteRune(bars[i])
	}
	return b.String()
}
