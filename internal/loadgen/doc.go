// Package loadgen sends requests at a given rate, checks every answer and
// measures latency from the moment at which each request was meant to be sent.
//
// That moment is fixed by the schedule before anything is sent, so a target
// that stalls for a second is charged for every request of that second and not
// only for the one that happened to be on its way (no coordinated omission).
// The generator measures itself as well: [Result.Lag] says how late it was, and
// [Result.Saturated] that its own lateness spoils the figures.
//
// [Run] measures one load, [RunSteps] one rate after the other, and [FindMaxRate]
// searches the highest rate at which a target stays within limits. Each may be
// called from several goroutines at once, and leaves nothing running; the
// example shows what goes in and what comes out.
//
// A closed loop ([Config.Callers]) is there to measure throughput. Its
// latencies do have coordinated omission, and its results say so.
//
// Run refuses to judge: it knows no limits of latency, only whether answers were
// right. It never skips a request silently.
package loadgen
