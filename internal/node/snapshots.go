package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/metrics"
	"github.com/geecache/geecache/snapshot"
	"github.com/geecache/geecache/snapshot/file"
	"github.com/geecache/geecache/snapshot/s3"
)

// A SnapshotConfig says where and when a node saves the entries that it uses most. Its
// zero value saves nothing.
type SnapshotConfig struct {
	// URL is file:///DIR or s3://BUCKET/PREFIX. Empty: nothing is saved or loaded.
	URL string

	// What follows is as in snapshot.Config, with its defaults; a negative LoadTime
	// loads nothing.
	Bytes                      int64
	Interval, LoadTime, MaxAge time.Duration
}

// The defaults that commands show in their help.
const (
	DefaultSnapshotBytes    = snapshot.DefaultBytes
	DefaultSnapshotInterval = snapshot.DefaultInterval
	DefaultSnapshotLoadTime = snapshot.DefaultLoadTime
	DefaultSnapshotMaxAge   = snapshot.DefaultMaxAge
)

// SnapshotExamples returns an example of a URL for each kind of storage.
func SnapshotExamples() []string { return []string{"file:///DIR", "s3://BUCKET/PREFIX"} }

// parseSnapshot reads a URL without opening anything.
func parseSnapshot(raw string) (open func(context.Context) (snapshot.Storage, error), err error) {
	scheme, _, _ := strings.Cut(raw, ":")
	switch scheme {
	case "file":
		dir, err := file.ParseURL(raw)
		return func(context.Context) (snapshot.Storage, error) { return storage(file.Open(dir)) }, err
	case "s3":
		cfg, err := s3.ParseURL(raw)
		return func(ctx context.Context) (snapshot.Storage, error) { return storage(s3.Open(ctx, cfg)) }, err
	}
	return nil, fmt.Errorf("nothing opens %q: use a URL such as %s", scheme+":", strings.Join(SnapshotExamples(), " or "))
}

// storage passes on what an Open returns. A nil pointer must not become a Storage that
// is not nil.
func storage[S snapshot.Storage](s S, err error) (snapshot.Storage, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// validate returns an error that names the flag that makes no sense.
func (c SnapshotConfig) validate(role geecache.Role) error {
	if c.URL == "" {
		return nil
	}
	if role == geecache.RoleClient {
		return errors.New("--snapshot with --role client: a client has nothing of its own to save; leave it out")
	}
	if _, err := parseSnapshot(c.URL); err != nil {
		return fmt.Errorf("--snapshot: %w", err)
	}
	return nil
}

// snapshots are a process's: a keeper, its storage and the goroutine that runs it.
type snapshots struct {
	kind    string // of the storage
	url     string // as it may be shown
	keeper  *snapshot.Keeper
	storage snapshot.Storage
	loaded  chan struct{} // closed when what there was has been loaded

	ctx    context.Context // ends with the background work
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// openSnapshots opens what the configuration names; nil if it names nothing. The node
// must have its groups.
func openSnapshots(ctx context.Context, cfg Config, dynamic bool, n *geecache.Node) (*snapshots, error) {
	c := cfg.Snapshot
	if c.URL == "" {
		return nil, nil
	}
	open, err := parseSnapshot(c.URL)
	if err != nil {
		return nil, fmt.Errorf("--snapshot: %w", err)
	}
	s := &snapshots{loaded: make(chan struct{}), url: RedactURL(c.URL)}
	s.kind, _, _ = strings.Cut(c.URL, ":")
	if s.storage, err = open(ctx); err != nil {
		return nil, fmt.Errorf("--snapshot %s: %w", s.url, err)
	}
	if dir, ok := s.storage.(interface{ Exposed() (fs.FileMode, bool) }); ok {
		if mode, exposed := dir.Exposed(); exposed {
			cfg.Logger.Warn("the directory of snapshots is open to others than the user of this process: chmod 700 it", "snapshot", s.url, "mode", mode.String())
		}
	}
	s.keeper, err = snapshot.New(snapshot.Config{
		Cluster: clusterOf(cfg), Node: n, Storage: s.storage, Dynamic: dynamic,
		Bytes: c.Bytes, Interval: c.Interval, LoadTime: c.LoadTime, MaxAge: c.MaxAge, Log: cfg.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// run loads and saves in the background.
func (s *snapshots) run() {
	s.wg.Go(func() { s.keeper.Run(s.ctx, func() { close(s.loaded) }) })
}

// warm reports whether what there was has been loaded. Nil snapshots are.
func (s *snapshots) warm() bool {
	if s == nil {
		return true
	}
	select {
	case <-s.loaded:
		return true
	default:
		return false
	}
}

// saveLast gives up what goes on in the background, and saves once more.
func (s *snapshots) saveLast(ctx context.Context) {
	s.cancel()
	s.wg.Wait()
	s.keeper.SaveLast(ctx)
}

// close ends all of it.
func (s *snapshots) close() error {
	if s.cancel != nil {
		s.cancel()
	}
	s.wg.Wait()
	if c, ok := s.storage.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// A SnapshotStatus is what /statusz shows of a process's snapshots.
type SnapshotStatus struct {
	URL         string  `json:"url"`
	AgeSeconds  float64 `json:"age_seconds"` // since the last one was saved; before the first, since the start
	Saves       int64   `json:"saves"`
	Bytes       int64   `json:"bytes"`   // of the last one
	Entries     int64   `json:"entries"` // in it
	Loaded      bool    `json:"loaded"`  // the loading at the start has ended
	LoadSeconds float64 `json:"load_seconds"`
	LoadedFrom  int     `json:"loaded_snapshots"`
	LoadedNow   int64   `json:"loaded_entries"`
	LoadCut     string  `json:"load_cut_because,omitempty"`
	Refused     int64   `json:"refused_parts"` // torn, or of another format or cluster
	Errors      int64   `json:"errors"`        // calls of the storage that failed
	Error       string  `json:"error,omitempty"`
}

func (s *snapshots) status() *SnapshotStatus {
	st := s.keeper.Status()
	l := &st.Load
	out := &SnapshotStatus{
		URL: s.url, AgeSeconds: age(st).Seconds(), Saves: st.Saves, Bytes: st.Bytes, Entries: st.Entries, Loaded: s.warm(),
		LoadSeconds: l.Took.Seconds(), LoadedFrom: l.Snapshots, LoadedNow: l.Entries, LoadCut: l.Cut, Refused: l.Torn + l.OtherFormat + l.OtherCluster,
		Errors: st.ListErrors + st.ReadErrors + st.WriteErrors + st.DeleteErrors,
	}
	if st.Err != nil {
		out.Error = st.Err.Error()
	}
	return out
}

func age(st snapshot.Status) time.Duration {
	if st.Saved.IsZero() {
		return time.Since(st.Started)
	}
	return time.Since(st.Saved)
}

func (s *snapshots) metrics() metrics.Snapshots {
	st := s.keeper.Status()
	l := &st.Load
	return metrics.Snapshots{
		Kind: s.kind, Age: age(st), Saves: st.Saves, Bytes: st.Bytes, Saved: st.SavedTotal,
		Load: l.Took, Loaded: l.Entries, Others: l.Others, Expired: l.Expired, Refused: l.Refused + l.NoRoom + l.NoGroup,
		Torn: l.Torn, OtherFormat: l.OtherFormat, OtherCluster: l.OtherCluster,
		ListErrors: st.ListErrors, ReadErrors: st.ReadErrors, WriteErrors: st.WriteErrors, DeleteErrors: st.DeleteErrors,
	}
}
