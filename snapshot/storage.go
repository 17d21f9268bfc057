package snapshot

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// A Reading storage gives objects. Names have segments of letters, digits, '.', '_' and
// '-', with a '/' between two, and no segment begins with a '.'.
type Reading interface {
	// List returns the names of all objects whose name begins with dir and a '/', in
	// any order; none is no error.
	List(ctx context.Context, dir string) ([]string, error)

	// Open returns an object's content. The error wraps fs.ErrNotExist if there is none.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// A Writing storage takes objects.
type Writing interface {
	// Put stores an object under a name, in place of another one. Whoever reads sees all
	// of it or nothing, also when the process or the machine ends meanwhile.
	Put(ctx context.Context, name string, data []byte) error

	// Delete removes an object; there need be none.
	Delete(ctx context.Context, name string) error
}

// A Storage keeps objects. It is safe for concurrent use, by other processes too.
type Storage interface {
	Reading
	Writing
}

// A partName is what a part's name tells of it:
//
//	CLUSTER/NODE/20260102T030405.006Z-EPOCH-000-last
//
// where EPOCH is that of the ring when the node was asked to save, and the last part of
// a snapshot says so. The name is all that is needed to choose what to read.
type partName struct {
	node    string // a segment
	written time.Time
	epoch   string
	part    int
	last    bool
}

const (
	timeLayout = "20060102T150405.000Z"
	mostParts  = 1000
)

var partPattern = regexp.MustCompile(`^([^/]+)/(\d{8}T\d{6}\.\d{3}Z)-([0-9a-f]{16})-(\d{3})(-last)?$`)

// String returns the name in the directory of the cluster.
func (p partName) String() string {
	s := fmt.Sprintf("%s/%s-%s-%03d", p.node, p.written.UTC().Format(timeLayout), p.epoch, p.part)
	if p.last {
		s += "-last"
	}
	return s
}

// parseName reads the name of a part; ok is false if it is none.
func parseName(s string) (p partName, ok bool) {
	m := partPattern.FindStringSubmatch(s)
	if m == nil {
		return partName{}, false
	}
	written, err := time.Parse(timeLayout, m[2])
	if err != nil {
		return partName{}, false
	}
	if _, err := fmt.Sscanf(m[4], "%d", &p.part); err != nil {
		return partName{}, false
	}
	p.node, p.written, p.epoch, p.last = m[1], written, m[3], m[5] != ""
	return p, true
}

// plainSegment is what can stand in a name as it is.
var plainSegment = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)

// segment returns what an ID is called in names: itself if it is plain, else what is
// plain of it and a hash that tells it from others.
func segment(id string) string {
	if plainSegment.MatchString(id) {
		return id
	}
	plain := strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' {
			return r
		}
		return '_'
	}, strings.TrimLeft(id[:min(len(id), 46)], "."))
	return fmt.Sprintf("%s-%016x", plain, xxhash.Sum64String(id))
}
