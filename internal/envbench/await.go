package envbench

import (
	"context"
	"fmt"
	"time"
)

// The pauses between two looks at what there is.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = 50 * time.Millisecond
)

// poll calls look until it reports true, an error, or ctx ends, with pauses that grow. It
// returns ctx's error in the last case.
func poll(ctx context.Context, look func(context.Context) (bool, error)) error {
	for pause := firstPause; ; pause = min(pause*3/2, longestPause) {
		done, err := look(ctx)
		if done || err != nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// A stopwatch tells how long stages take.
type stopwatch struct {
	progress func(Event)
	stages   []Stage
	name     string
	begun    time.Time
}

func (o Options) stopwatch() *stopwatch { return &stopwatch{progress: o.Progress} }

// stage ends the stage before, if there is one, and begins another.
func (w *stopwatch) stage(name, text string) {
	w.end()
	w.name, w.begun = name, time.Now()
	w.progress(Event{Stage: name, Text: text})
}

// end ends the stage.
func (w *stopwatch) end() {
	if w.name == "" {
		return
	}
	took := time.Since(w.begun)
	w.stages = append(w.stages, Stage{w.name, took.Seconds()})
	w.progress(Event{Stage: w.name, Took: took})
	w.name = ""
}

// awaitAgreement looks until all desired nodes answer and agree, and returns what it saw
// last. look returns what is there, with all members asked.
func (o Options) awaitAgreement(ctx context.Context, look func(context.Context) (*Status, error)) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, o.StartWithin)
	defer cancel()
	var last *Status
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		s, err := look(ctx)
		if err != nil {
			if ctx.Err() != nil && last != nil {
				return false, nil // what was seen before says more
			}
			return false, err
		}
		s.judge()
		last = s
		return s.Agree, nil
	})
	if err != nil && last != nil && ctx.Err() != nil {
		return last, fmt.Errorf("after %v, %s", o.StartWithin, last.why())
	}
	return last, err
}
