package judge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

// logsWithin is how long a marker may take to arrive, and seekPause the time between two
// looks for it.
const (
	logsWithin = time.Minute
	seekPause  = 20 * time.Millisecond
)

func logsTest() test {
	return test{
		id: "logs", title: "Logs, from end to end",
		method: fmt.Sprintf("Every process is told to log a marker of its own (POST /logz), and the markers are looked for where the environment keeps logs, "+
			"for up to %v. found-after is from when the last process had logged until all markers were found there.", logsWithin),
		run: logs,
	}
}

func logs(ctx context.Context, s *session, t *result.Test) error {
	seeker, ok := s.driver.(envbench.LogSeeker)
	if !ok {
		return &envbench.Unsupported{What: "looking for log lines", Evidence: "the environment's driver has no way to do so"}
	}
	d, err := s.begin(ctx, s.Deployment)
	if err != nil {
		return err
	}
	defer d.asker.Close()
	return s.repeat(ctx, "markers in the log", func(ctx context.Context, count bool) error {
		found, err := seekMarkers(ctx, seeker, d.asker, d.now, logsWithin)
		if err != nil {
			return err
		}
		if count {
			found.add(t)
		}
		return nil
	})
}

// A markersFound is what came of a marker of each process.
type markersFound struct {
	view       envbench.LogView
	nodes, api int // that have logged one
	found      [2]int
	events     int
	after      time.Duration // until all were found; 0: they were not
}

func (m *markersFound) add(t *result.Test) {
	for service, n := range m.view.Streams {
		t.AddCount("streams/"+service, n)
	}
	t.AddCount("nodes", m.nodes)
	t.AddCount("nodes-found", m.found[0]).Note = m.view.Place
	t.AddCount("api", m.api)
	t.AddCount("api-found", m.found[1])
	t.AddCount("events", m.events).Note = "lines with one of the markers: as many as there are processes, if none is lost or doubled"
	if m.after > 0 {
		t.Add("found-after", "s", m.after.Seconds()).Warmups = 1
	}
}

// seekMarkers has each process log a marker, and looks for all of them.
func seekMarkers(ctx context.Context, seeker envbench.LogSeeker, a *envbench.Asker, now *envbench.Status, within time.Duration) (*markersFound, error) {
	run := "judge-" + random()
	marker := func(i int) string { return fmt.Sprintf("%s-%d.", run, i) }
	m := &markersFound{}
	for i, member := range now.Members {
		if err := a.Mark(ctx, member.Addr, marker(i)); err != nil {
			return nil, fmt.Errorf("%s is told to log a marker: %w", member.ID, err)
		}
		if member.API {
			m.api++
		} else {
			m.nodes++
		}
	}
	begun := time.Now()
	var err error
	for { // the first event may be the only one of a process, or not: this is cheap, and what follows is exact
		if m.view, err = seeker.SeekLogs(ctx, now.Name, run); err != nil {
			return nil, err
		}
		m.events = 0
		for _, n := range m.view.Events {
			m.events += n
		}
		took := time.Since(begun)
		if m.events >= len(now.Members) {
			m.after = took
			break
		}
		if took > within {
			break
		}
		if !pause(ctx, seekPause) {
			return nil, ctx.Err()
		}
	}
	for i, member := range now.Members {
		one, err := seeker.SeekLogs(ctx, now.Name, marker(i))
		if err != nil {
			return nil, err
		}
		kind := 0
		if member.API {
			kind = 1
		}
		if len(one.Events) > 0 {
			m.found[kind]++
		}
	}
	if m.found[0]+m.found[1] < len(now.Members) {
		m.after = 0
	}
	return m, nil
}

// random returns a word that nobody else has.
func random() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
