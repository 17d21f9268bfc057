package loadgen

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// SaturatedLag is the lag, at the 99th percentile, from which on the generator
// itself is too late for its figures to be about the target: a cached answer
// takes a fraction of it, and a limit of latency is seldom less than a few times
// as much.
const SaturatedLag = time.Millisecond

// The modes of a run.
const (
	OpenLoop   = "open loop"
	ClosedLoop = "closed loop"
)

// A Result is what came of a run. In JSON, durations are in nanoseconds.
type Result struct {
	Mode      string     `json:"mode"` // OpenLoop or ClosedLoop
	Config    ConfigInfo `json:"config"`
	Machine   Machine    `json:"machine"`
	StartedAt time.Time  `json:"started_at"`

	// Elapsed is from the end of the warm-up to the last answer.
	Elapsed     time.Duration `json:"elapsed_ns"`
	Interrupted bool          `json:"interrupted"` // the context ended first

	// Requests that were to be sent after the warm-up. Each has one outcome;
	// Completed are those that were sent and have ended, failed or not.
	Requests   int64            `json:"requests"`
	Completed  int64            `json:"completed"`
	Failed     int64            `json:"failed"`
	Outcomes   map[string]int64 `json:"outcomes"`
	Statuses   map[int]int64    `json:"http_statuses,omitempty"`
	Throughput float64          `json:"throughput"` // completed requests per second
	Failures   []Failure        `json:"failures,omitempty"`

	Trace *TraceInfo `json:"trace,omitempty"` // nil without a trace

	// ConnectionWaits is how many requests found HTTPOptions.Connections in use,
	// and had to wait. Those of the warm-up are counted too.
	ConnectionWaits int64 `json:"connection_waits"`

	WarmupRequests int64 `json:"warmup_requests"`
	WarmupFailed   int64 `json:"warmup_failed"`

	// Latency is of all completed requests, from their intended send; in a
	// closed loop, from their actual one. Dropped requests are not in it.
	// Service is from the actual send, Lag from the one to the other.
	Latency LatencyStats `json:"latency"`
	Service LatencyStats `json:"service"`
	Lag     LatencyStats `json:"lag"`

	// Saturated: the lag's 99th percentile is SaturatedLag or more. What the
	// other figures say is then about the generator, and not about the target.
	// It is never set in a closed loop, which has no schedule to lag behind.
	Saturated bool `json:"generator_saturated"`

	Targets []TargetStats `json:"targets"`
	Seconds []SecondStats `json:"seconds"`

	label   string
	seconds []*secondBucket
}

// TraceInfo says how far a trace has been followed.
type TraceInfo struct {
	Requests int64 `json:"requests"` // that the trace has
	Taken    int64 `json:"taken"`    // so far, those of warm-ups and earlier steps included
	Repeat   bool  `json:"repeat"`   // it starts again at its end, so more may be taken than it has
	Ended    bool  `json:"ended"`    // the run ended because the trace did
}

// ConfigInfo is the Config as results tell it.
type ConfigInfo struct {
	Targets        []string      `json:"targets"`
	Group          string        `json:"group,omitempty"`
	Pick           Pick          `json:"pick"`
	Rate           float64       `json:"rate,omitempty"`
	Callers        int           `json:"callers,omitempty"`
	Arrivals       Arrivals      `json:"arrivals,omitempty"`
	Duration       time.Duration `json:"duration_ns,omitempty"`
	Count          int64         `json:"count,omitempty"`
	Warmup         time.Duration `json:"warmup_ns"`
	Timeout        time.Duration `json:"timeout_ns"`
	MaxOutstanding int           `json:"max_outstanding,omitempty"`
	Connections    int           `json:"connections,omitempty"`
	Keys           int           `json:"keys"`
	KeyFormat      string        `json:"key_format,omitempty"`
	Distribution   Distribution  `json:"distribution"`
	ZipfS          float64       `json:"zipf_s,omitempty"`
	Seed           uint64        `json:"seed"`

	// RealTimeRefused: real-time scheduling was asked for, and this is why the
	// generator did not get it.
	RealTimeRefused string `json:"realtime_refused,omitempty"`
}

// Machine is where the generator ran.
type Machine struct {
	GoVersion  string `json:"go_version"`
	Version    string `json:"version"` // of the module that the generator is part of
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	CPU        string `json:"cpu,omitempty"`
	CPUs       int    `json:"cpus"`
	GOMAXPROCS int    `json:"gomaxprocs"`

	// Scheduling is how the generator's process is scheduled, as the system tells
	// it: ScheduledNormally, ScheduledRealTime, or empty where it does not tell.
	Scheduling string `json:"scheduling,omitempty"`
}

// How the system schedules a generator: like any other process, or before them.
const (
	ScheduledNormally = "normal"
	ScheduledRealTime = "real-time"
)

// LatencyStats describes a distribution of durations. Percentiles are within
// 0.1%, the maximum is exact.
type LatencyStats struct {
	Count int64         `json:"count"`
	Mean  time.Duration `json:"mean_ns"`
	Min   time.Duration `json:"min_ns"`
	P50   time.Duration `json:"p50_ns"`
	P75   time.Duration `json:"p75_ns"`
	P90   time.Duration `json:"p90_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p999_ns"`
	P9999 time.Duration `json:"p9999_ns"`
	Max   time.Duration `json:"max_ns"`

	// HDR is the whole histogram, in nanoseconds, in the V2 compressed format
	// of HdrHistogram (base64).
	HDR string `json:"hdr,omitempty"`
}

// TargetStats describes the requests to one target.
type TargetStats struct {
	Target   string           `json:"target"`
	Requests int64            `json:"requests"`
	Failed   int64            `json:"failed"`
	Outcomes map[string]int64 `json:"outcomes"`
	Latency  LatencyStats     `json:"latency"`
}

// SecondStats describes the requests that were meant to be sent in one second.
// Percentiles are within 1%, the maximum is exact.
type SecondStats struct {
	Second   int           `json:"second"` // since the end of the warm-up
	Requests int64         `json:"requests"`
	Failed   int64         `json:"failed"` // the dropped ones included
	Dropped  int64         `json:"dropped"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
	LagP99   time.Duration `json:"lag_p99_ns"` // 0 in a closed loop
}

// WithinErrors reports whether the run was good: it has answers, and at most
// maxErrors failures.
func (r *Result) WithinErrors(maxErrors int64) bool {
	return r.Failed <= maxErrors && r.Completed > 0
}

// Count returns how many requests ended so.
func (r *Result) Count(o Outcome) int64 { return r.Outcomes[o.String()] }

// Window describes the latencies of the requests that were meant to be sent
// from one second up to, not including, another; both count from the end of the
// warm-up. Percentiles are within 1%.
func (r *Result) Window(from, to int) LatencyStats {
	sum := newSmallHistogram()
	var longest time.Duration
	for i := max(from, 0); i < min(to, len(r.seconds)); i++ {
		if b := r.seconds[i]; b != nil {
			sum.Merge(b.latency)
			longest = max(longest, b.max)
		}
	}
	return latencyStats(sum, longest)
}

// WriteJSON writes the whole result as one indented JSON object.
func (r *Result) WriteJSON(w io.Writer) error {
	return writeJSON(w, r)
}

func (r *run) mode() string {
	if r.cfg.Callers > 0 {
		return ClosedLoop
	}
	return OpenLoop
}

func (r *run) result() *Result {
	sum := r.sum()
	res := &Result{
		Mode:           r.mode(),
		Config:         r.configInfo(),
		Machine:        thisMachine(),
		StartedAt:      r.start,
		Elapsed:        max(sum.lastDone-r.cfg.Warmup, 0),
		Interrupted:    r.ctx.Err() != nil,
		Statuses:       sum.statuses,
		Failures:       r.failures.kept,
		WarmupRequests: sum.warm,
		WarmupFailed:   sum.warmFailed,
		Latency:        encodedStats(sum.latency, sum.maxes[0]),
		Service:        encodedStats(sum.service, sum.maxes[1]),
		Lag:            encodedStats(sum.lag, sum.maxes[2]),
		Seconds:        sum.secondStats(),
		Trace:          r.traceInfo(),
		label:          r.label(),
		seconds:        sum.seconds,
	}
	res.Saturated = res.Lag.P99 >= SaturatedLag
	res.Completed = res.Latency.Count
	res.Outcomes, res.Requests, res.Failed = countOutcomes(&sum.outcomes)
	if res.Elapsed > 0 {
		res.Throughput = float64(res.Completed) / res.Elapsed.Seconds()
	}
	for i, t := range r.targets {
		stats := TargetStats{Target: t.name(), Latency: encodedStats(sum.targets[i].latency, sum.targets[i].max)}
		stats.Outcomes, stats.Requests, stats.Failed = countOutcomes(&sum.targets[i].outcomes)
		res.Targets = append(res.Targets, stats)
	}
	return res
}

func countOutcomes(counts *[outcomes]int64) (named map[string]int64, all, failed int64) {
	named = make(map[string]int64)
	for o, n := range counts {
		if n == 0 {
			continue
		}
		named[Outcome(o).String()] = n
		all += n
		if Outcome(o).Failed() {
			failed += n
		}
	}
	return named, all, failed
}

func (r *run) configInfo() ConfigInfo {
	c := &r.cfg
	info := ConfigInfo{
		Group: c.Group, Pick: c.Pick, Rate: c.Rate, Callers: c.Callers,
		Duration: c.Duration, Count: c.Count, Warmup: c.Warmup, Timeout: c.Timeout,
		Keys: c.Keys.N, Distribution: c.Keys.Dist, Seed: c.Seed, RealTimeRefused: c.RealTimeRefused,
	}
	for _, t := range r.targets {
		info.Targets = append(info.Targets, t.name())
	}
	if c.Callers == 0 {
		info.Arrivals, info.MaxOutstanding = c.Arrivals, c.MaxOutstanding
	}
	if len(c.URLs) > 0 {
		info.Connections = c.HTTP.Connections
	}
	if len(c.Keys.List) == 0 && c.Keys.Trace == nil {
		info.KeyFormat = c.Keys.Format
	}
	if c.Keys.Dist == Zipf {
		info.ZipfS = c.Keys.ZipfS
	}
	return info
}

func (r *run) label() string {
	if r.cfg.Label != "" {
		return r.cfg.Label
	}
	t, ok := r.targets[0].(*httpTarget)
	switch {
	case !ok:
		return "func"
	case t.tmpl.peer:
		return "peer"
	}
	return "api"
}

// distribution is what latencyStats reads of either kind of histogram.
type distribution interface {
	TotalCount() int64
	Min() int64
	Mean() float64
	ValueAtPercentile(percentile float64) int64
}

func latencyStats(h distribution, longest time.Duration) LatencyStats {
	s := LatencyStats{Count: h.TotalCount(), Max: longest}
	if s.Count == 0 {
		return s
	}
	// A percentile is the top of its bucket, which may lie above the maximum.
	at := func(p float64) time.Duration { return min(time.Duration(h.ValueAtPercentile(p)), longest) }
	s.Mean, s.Min = time.Duration(h.Mean()), time.Duration(h.Min())
	s.P50, s.P75, s.P90, s.P95 = at(50), at(75), at(90), at(95)
	s.P99, s.P999, s.P9999 = at(99), at(99.9), at(99.99)
	return s
}

func encodedStats(h *hdrhistogram.Histogram, longest time.Duration) LatencyStats {
	s := latencyStats(h, longest)
	if s.Count > 0 {
		// It fails for versions that it does not know, and this is its own.
		text, _ := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
		s.HDR = string(text)
	}
	return s
}

func (t *tally) secondStats() []SecondStats {
	stats := make([]SecondStats, len(t.seconds))
	for i, b := range t.seconds {
		stats[i].Second = i
		if b == nil {
			continue
		}
		l := latencyStats(b.latency, b.max)
		stats[i] = SecondStats{
			Second: i, Requests: b.requests, Failed: b.failed, Dropped: b.dropped,
			P50: l.P50, P99: l.P99, Max: l.Max,
			LagP99: latencyStats(b.lag, b.maxLag).P99,
		}
	}
	return stats
}

func thisMachine() Machine {
	m := Machine{
		GoVersion: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		CPU: cpuModel("/proc/cpuinfo"), CPUs: runtime.NumCPU(), GOMAXPROCS: runtime.GOMAXPROCS(0),
		Scheduling: scheduling(),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		m.Version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				m.Version = fmt.Sprintf("%s (%s)", m.Version, s.Value)
			}
		}
	}
	return m
}

// cpuModel returns the processor's name as Linux tells it, or nothing.
func cpuModel(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
