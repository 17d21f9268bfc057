// Package static is the registry that is a list: fixed, or in a file that is read
// again when it changes. Nobody registers there; people keep it. A
// [registry.Follower] should take it at its word (Exact).
package static

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
)

// DefaultInterval is how often a file is looked at.
const DefaultInterval = time.Second

// maxFile is the size of the largest file that is read, in bytes.
const maxFile = 16 << 20

// A Config says who is in the cluster. Its zero value is a cluster of this node alone.
type Config struct {
	// Members is a fixed list, and File the path of a file with one. They exclude
	// each other.
	//
	// A file has a line for each member: its address, or its ID, "=" and its
	// address; empty lines and those that begin with "#" are left out. Or it is JSON, an
	// array of members with what else they have:
	//
	//	[{"id": "a", "addr": "10.0.0.1:8000", "zone": "z1", "weight": 2}]
	//
	// To change it, write another file and rename it: what is read half is half a
	// cluster, or an error.
	Members []registry.Member
	File    string

	// Interval is how often the file is looked at. Zero means DefaultInterval.
	Interval time.Duration

	// Backoff is the longest pause when the file cannot be read. Zero means Interval:
	// to look at a file costs little, and whoever has put it right waits for it.
	Backoff time.Duration
}

// Peers returns members that are peers and no more, for Config.Members.
func Peers(peers ...geecache.Peer) []registry.Member {
	members := make([]registry.Member, 0, len(peers))
	for _, p := range peers {
		members = append(members, registry.Member{Peer: p})
	}
	return members
}

// Validate returns what is wrong with the Config, and how to put it right. It does
// not look at the file.
func (c Config) Validate() error {
	switch {
	case c.File != "" && len(c.Members) > 0:
		return errors.New("static: Members and File are both given: use one of them")
	case c.Interval < 0:
		return fmt.Errorf("static: Interval is %v: use a positive duration, or 0 for %v", c.Interval, DefaultInterval)
	case c.Backoff < 0:
		return fmt.Errorf("static: Backoff is %v: use a positive duration, or 0 for Interval", c.Backoff)
	}
	return check("static: Members", c.Members)
}

// A Registry is a list. It is safe for concurrent use.
type Registry struct {
	cfg  Config
	poll registry.Poller
}

var _ registry.Discoverer = (*Registry)(nil)

// New returns the registry of a Config. The file need not be there yet.
func New(cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Backoff == 0 {
		cfg.Backoff = cfg.Interval
	}
	cfg.Members = slices.Clone(cfg.Members)
	r := &Registry{cfg: cfg}
	r.poll = registry.Poller{Interval: cfg.Interval, Backoff: cfg.Backoff, Lookup: r.lookup}
	return r, nil
}

// Watch implements [registry.Discoverer].
func (r *Registry) Watch(ctx context.Context) iter.Seq2[[]registry.Member, error] {
	return r.poll.Watch(ctx)
}

func (r *Registry) lookup(context.Context) ([]registry.Member, time.Duration, error) {
	if r.cfg.File == "" {
		return slices.Clone(r.cfg.Members), 0, nil
	}
	members, err := readFile(r.cfg.File)
	return members, 0, err
}

func readFile(name string) ([]registry.Member, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("static: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("static: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("static: %s has more than %d bytes: is it a list of members?", name, maxFile)
	}
	members, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("static: %s: %w", name, err)
	}
	return members, nil
}

// Parse reads what a file of members holds; see [Config].
func Parse(text []byte) ([]registry.Member, error) {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
	if isArray(text) {
		return parseJSON(text)
	}
	var members []registry.Member
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		p, ok := parseLine(line)
		if !ok {
			return nil, fmt.Errorf("line %d is %.80q: use an address such as 10.0.0.1:8000, or ID=ADDRESS", n, line)
		}
		members = append(members, registry.Member{Peer: p})
	}
	return members, check("member", members)
}

// isArray tells an array in JSON from an address that begins with "[".
func isArray(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte("["))
	rest = bytes.TrimSpace(rest)
	return ok && (len(rest) == 0 || rest[0] == '{' || rest[0] == ']')
}

func parseLine(line string) (p geecache.Peer, ok bool) {
	id, addr, named := strings.Cut(line, "=")
	if !named {
		id, addr = "", line
	}
	id, addr = strings.TrimSpace(id), strings.TrimSpace(addr)
	_, hostPort, hasScheme := strings.Cut(addr, "://")
	if !hasScheme {
		hostPort = addr
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil || host == "" || port == "" || named && id == "" || strings.ContainsAny(addr, " \t") {
		return geecache.Peer{}, false
	}
	if id == "" {
		id = hostPort
	}
	return geecache.Peer{ID: id, Addr: addr}, true
}

func parseJSON(text []byte) ([]registry.Member, error) {
	var members []registry.Member
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields() // a weight that is spelt wrong is no weight
	err := dec.Decode(&members)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("something follows its end")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("it is not an array of members in JSON: %w", err)
	}
	return members, check("member", members)
}

// check finds members that no node could use, whoever they are among.
func check(what string, members []registry.Member) error {
	seen := make(map[string]bool, len(members))
	for i, m := range members {
		id := m.ID
		if id == "" {
			id = m.Addr
		}
		switch {
		case m.Addr == "" && m.Role != geecache.RoleClient:
			return fmt.Errorf("%s %d (ID %q) has no address: give it the one that it listens on", what, i, m.ID)
		case seen[id]:
			return fmt.Errorf("%s %d: %q is there twice: give each member its own ID", what, i, id)
		}
		seen[id] = true
	}
	return nil
}
