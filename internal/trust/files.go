// Package trust holds what a process proves itself with: the cluster's secret, its
// certificate, and the API's tokens, in files that are read again when they have
// changed. It also makes certificates for those who have none.
package trust

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// checkEvery is how often files are looked at, at most, and settle how long a changed one
// must have been as it is: who writes into a file, and does not put another in its place, shows
// half of it for a moment, and half a secret is a secret, too.
const (
	checkEvery = time.Second
	settle     = 2 * time.Second
)

// A stamp tells whether a file is another than before.
type stamp struct {
	size     int64
	modified time.Time
	missing  bool
}

// files are parsed files, which are read again when one of them has changed. What
// cannot be read or parsed changes nothing but the log. They are safe for
// concurrent use.
type files[T any] struct {
	what  string // in the log
	paths []string
	parse func(contents [][]byte) (T, error)
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex // guards what follows
	value   T
	stamps  []stamp // of what was read last
	checked time.Time
	seen    []stamp // of the last look
	since   time.Time
}

// open reads files for the first time.
func open[T any](what string, log *slog.Logger, parse func([][]byte) (T, error), paths ...string) (*files[T], error) {
	f := &files[T]{what: what, paths: paths, parse: parse, log: log, now: time.Now}
	f.stamps = f.look()
	var err error
	if f.value, err = f.read(); err != nil {
		return nil, err
	}
	f.checked = f.now()
	f.seen, f.since = f.stamps, f.checked
	return f, nil
}

// get returns what the files hold, or held when they last made sense.
func (f *files[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if now.Sub(f.checked) < checkEvery {
		return f.value
	}
	f.checked = now
	stamps := f.look()
	if !slices.Equal(stamps, f.seen) {
		f.seen, f.since = stamps, now
	}
	if slices.Equal(stamps, f.stamps) || now.Sub(f.since) < settle && !settled(stamps, now) {
		return f.value
	}
	// A file that changes while it is read has another stamp the next time.
	f.stamps = stamps
	value, err := f.read()
	if err != nil {
		f.log.Error("changed files are not taken, and what they held before stays in force", "what", f.what, "err", err)
		return f.value
	}
	f.log.Info("changed files are in force", "what", f.what)
	f.value = value
	return value
}

// settled reports whether files have not been changed for a while, as they say themselves:
// who looks seldom need not look twice.
func settled(stamps []stamp, now time.Time) bool {
	return !slices.ContainsFunc(stamps, func(s stamp) bool { return s.missing || now.Sub(s.modified) < settle })
}

func (f *files[T]) look() []stamp {
	stamps := make([]stamp, len(f.paths))
	for i, path := range f.paths {
		info, err := os.Stat(path)
		if err != nil {
			stamps[i] = stamp{missing: true}
			continue
		}
		stamps[i] = stamp{size: info.Size(), modified: info.ModTime()}
	}
	return stamps
}

func (f *files[T]) read() (value T, err error) {
	contents := make([][]byte, len(f.paths))
	for i, path := range f.paths {
		if contents[i], err = os.ReadFile(path); err != nil {
			return value, fmt.Errorf("%s: %w", f.what, err)
		}
	}
	value, err = f.parse(contents)
	if err != nil {
		return value, fmt.Errorf("%s: %w", f.what, err)
	}
	return value, nil
}
