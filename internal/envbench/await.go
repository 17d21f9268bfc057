package envbench

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// The pauses between two looks at what there is.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = 50 * time.Millisecond

	// AWS counts calls, and slows down who makes many: what is waited for there takes
	// a minute or so.
	pauseInAWS = 500 * time.Millisecond
)

// poll calls look until it reports true, an error, or ctx ends, with pauses that grow. It
// returns ctx's error in the last case.
func poll(ctx context.Context, look func(context.Context) (bool, error)) error {
	return pollUpTo(ctx, longestPause, look)
}

// pollUpTo is poll with pauses that grow up to longest.
func pollUpTo(ctx context.Context, longest time.Duration, look func(context.Context) (bool, error)) error {
	for pause := firstPause; ; pause = min(pause*3/2, longest) {
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

// The stages of Up and Scale, in the order in which they follow each other. Which of them
// there are is the environment's matter, and whether the deployment grows or shrinks.
const (
	StageImage        = "image"         // until the image is where processes are started from
	StageControlPlane = "control-plane" // until the environment has taken every order
	StageScheduling   = "scheduling"    // until each node runs, as the environment says, and has an address
	StageStart        = "start"         // until each process says that it is ready
	StageStop         = "stop"          // until the nodes that are too many have ended
	StageAgreement    = "agreement"     // until all have one ring, and nobody else is there
)

// A stopwatch tells how long stages take, one after the other without a gap.
type stopwatch struct {
	progress func(Event)
	stages   []Stage
	name     string
	begun    time.Time
}

// stopwatch returns one that runs: its first stage has begun.
func (o Options) stopwatch() *stopwatch { return &stopwatch{progress: o.Progress, begun: time.Now()} }

// stage ends the stage before, if there is one, and begins another.
func (w *stopwatch) stage(name, text string) { w.stageAt(time.Now(), name, text) }

// stageAt is stage for a moment that has passed. One before the stage's own begin is that.
func (w *stopwatch) stageAt(at time.Time, name, text string) {
	w.endAt(at)
	w.name = name
	w.progress(Event{Stage: name, Text: text})
}

// end ends the stage.
func (w *stopwatch) end() { w.endAt(time.Now()) }

func (w *stopwatch) endAt(at time.Time) {
	if w.name == "" {
		return // what was before the first stage is part of it
	}
	took := max(at.Sub(w.begun), 0)
	w.stages = append(w.stages, Stage{w.name, took.Seconds()})
	w.progress(Event{Stage: w.name, Took: took})
	w.name, w.begun = "", w.begun.Add(took)
}

// follow goes on to the stage that a status shows, and never back. A look takes a while: if
// it finds all placed and ready at once, scheduling ended when the last process began, as it
// says itself.
func (w *stopwatch) follow(s *Status) {
	if w.name == StageScheduling && s.placed {
		at := time.Now()
		if s.started && s.begun.Before(at) {
			at = s.begun
		}
		w.stageAt(at, StageStart, "every process is asked at its own address")
	}
	if w.name == StageStart && s.started {
		w.stage(StageAgreement, "all nodes are asked for their ring")
	}
}

// awaitAgreement looks until all desired nodes answer and agree, and returns what it saw
// last. look returns what is there, with all members asked. The stage in which w is then goes
// on.
func (o Options) awaitAgreement(ctx context.Context, w *stopwatch, look func(context.Context) (*Status, error)) (*Status, error) {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, o.StartWithin)
	defer cancel()
	var last *Status
	err := pollUpTo(ctx, cmp.Or(o.longestPause, longestPause), func(ctx context.Context) (bool, error) {
		s, err := look(ctx)
		if err != nil {
			if ctx.Err() != nil && last != nil {
				return false, nil // what was seen before says more
			}
			return false, err
		}
		s.judge()
		w.follow(s)
		last = s
		return s.Agree, nil
	})
	if err != nil && whole.Err() != nil {
		return last, fmt.Errorf("interrupted while %s: %w", why(last), context.Cause(whole))
	}
	if err != nil && last != nil && ctx.Err() != nil {
		return last, fmt.Errorf("after %v, %s", o.StartWithin, last.why())
	}
	return last, err
}

// why says what was seen last; nil: nothing was.
func why(s *Status) string {
	if s == nil {
		return "nothing was seen yet"
	}
	return s.why()
}
