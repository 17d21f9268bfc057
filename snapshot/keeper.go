package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/geecache/geecache/geecache"
)

// A Config says what to save where. Cluster, Node and Storage are required.
type Config struct {
	Cluster string
	Node    *geecache.Node // with its groups
	Storage Storage

	// Dynamic says that the nodes find each other while they start: the ring is waited
	// for a moment before anything is loaded.
	Dynamic bool

	// Bytes bounds what a snapshot holds, as the caches are charged for it.
	// Default: 64 MiB.
	Bytes int64

	// Interval is the time between two snapshots, give or take a tenth.
	// Default: 5 minutes.
	Interval time.Duration

	// LoadTime bounds the loading at the start. Default: 5 s; negative: nothing is loaded.
	LoadTime time.Duration

	// SaveTime bounds the saving at the end. Default: 3 s.
	SaveTime time.Duration

	// MaxAge is how old a snapshot may be to be loaded; older ones are deleted.
	// Default: one hour.
	MaxAge time.Duration

	Log  *slog.Logger     // default: slog.Default()
	Now  func() time.Time // default: time.Now
	Rand func() float64   // in [0, 1); default: math/rand/v2
}

// The defaults of a Config.
const (
	DefaultBytes    = 64 << 20
	DefaultInterval = 5 * time.Minute
	DefaultLoadTime = 5 * time.Second
	DefaultSaveTime = 3 * time.Second
	DefaultMaxAge   = time.Hour
)

func (c Config) withDefaults() Config {
	setDefault(&c.Bytes, DefaultBytes)
	setDefault(&c.Interval, DefaultInterval)
	setDefault(&c.LoadTime, DefaultLoadTime)
	setDefault(&c.SaveTime, DefaultSaveTime)
	setDefault(&c.MaxAge, DefaultMaxAge)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns an error that names the first field that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Cluster == "":
		return errors.New("snapshot: Config.Cluster is empty: give the cluster's ID")
	case c.Node == nil || c.Storage == nil:
		return errors.New("snapshot: Config.Node and Storage are required")
	case c.Bytes < 0:
		return fmt.Errorf("snapshot: Config.Bytes is %d: use a positive number", c.Bytes)
	case c.Interval < 0 || c.SaveTime < 0 || c.MaxAge < 0:
		return fmt.Errorf("snapshot: Config.Interval is %v, SaveTime %v and MaxAge %v: use positive durations", c.Interval, c.SaveTime, c.MaxAge)
	}
	return nil
}

// A Keeper loads a node's part of its cluster's snapshots when it starts, and saves one
// now and then and at its end. It is safe for concurrent use.
type Keeper struct {
	cfg  Config
	dir  string // of the cluster in the storage
	self string // the node in names

	decoder *zstd.Decoder

	saving  sync.Mutex // held while a snapshot is saved; guards encoder
	encoder *zstd.Encoder

	mu     sync.Mutex // guards what follows
	status Status
	epoch  string // of the ring while the node served; empty: that of the moment
}

// New returns a keeper. It does nothing by itself: see [Keeper.Run] and [Keeper.SaveLast].
func New(cfg Config) (*Keeper, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	k := &Keeper{cfg: cfg, dir: segment(cfg.Cluster), self: segment(cfg.Node.ID())}
	var err error
	if k.encoder, err = newEncoder(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if k.decoder, err = newDecoder(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	k.status.Started = cfg.Now()
	return k, nil
}

// Run loads what there is, calls loaded, and then saves a snapshot each Interval until
// ctx ends. One that is being saved then is given up: it has no last part, and is not
// read where there is a whole one.
func (k *Keeper) Run(ctx context.Context, loaded func()) {
	k.load(ctx)
	loaded()
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	k.status.Loaded = true
	k.mu.Unlock()
	k.prune(ctx)
	for {
		t := time.NewTimer(time.Duration(float64(k.cfg.Interval) * (0.9 + 0.2*k.cfg.Rand())))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		// What is saved in the background takes half of a processor at most, and ends
		// before the next one.
		limited, cancel := context.WithTimeout(ctx, k.cfg.Interval)
		if k.save(limited, true) == nil {
			k.prune(limited)
		}
		cancel()
	}
}

// Leaving is to be called before the node drains: a snapshot that is saved from now on
// is of the ring of this moment.
func (k *Keeper) Leaving() {
	epoch := k.cfg.Node.Stats().Epoch
	k.mu.Lock()
	defer k.mu.Unlock()
	k.epoch = epoch
}

// SaveLast saves a snapshot at the node's end, within SaveTime. A node that has not
// finished loading saves none: it would be less than what there is.
func (k *Keeper) SaveLast(ctx context.Context) {
	if !k.Status().Loaded {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, k.cfg.SaveTime)
	defer cancel()
	_ = k.save(ctx, false) // it has told what went wrong
}

// A Status tells what a keeper has done.
type Status struct {
	Started time.Time // when the keeper was made
	Loaded  bool      // the loading at the start has ended

	Saves      int64     // whole snapshots
	Saved      time.Time // when the last one was; zero: none yet
	Bytes      int64     // its size
	Entries    int64     // in it
	SavedTotal int64     // entries in all snapshots

	Load LoadStatus

	// What went wrong: calls of the storage that failed, by kind; the last error.
	ListErrors, ReadErrors, WriteErrors, DeleteErrors int64
	Err                                               error
}

// A LoadStatus tells of the loading at the start.
type LoadStatus struct {
	Took      time.Duration
	Snapshots int   // that were read
	Entries   int64 // that have been put into the caches
	Bytes     int64 // of their keys and values
	Others    int64 // entries that another node answers for, or newer ones were there of
	Expired   int64
	Refused   int64 // because memory was short, or as too large
	NoGroup   int64 // of groups that the node does not have
	NoRoom    int64 // of groups whose cache was nearly full

	// Parts that were not read to their end.
	Torn, OtherFormat, OtherCluster int64

	Cut string // why there was no time or room for all; empty: there was
}

// Status tells what has been done until now.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// failed counts a failed call of the storage.
func (k *Keeper) failed(count func(*Status) *int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	*count(&k.status)++
	k.status.Err = err
}
