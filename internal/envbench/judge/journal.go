package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/geecache/geecache/internal/envbench"
)

// A journal is a file that is there while a measurement runs, and locked. One that nobody
// has locked is of a measurement that was killed.
type journal struct {
	f    *os.File // nil: none is kept
	left *entry   // what may be there of a measurement, this one or a killed one; nil: nothing
}

// An entry is what a journal says of a measurement that has begun to make something.
type entry struct {
	PID   int       `json:"pid"`
	Begun time.Time `json:"begun"`
	Temp  string    `json:"temp"` // the folder of temporary files
}

// journalWord is what a journal's name does not hold.
var journalWord = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// openJournal opens the journal of a deployment, and begins one if it is to: otherwise one
// that is not there is not kept. It is an error if a measurement of that deployment runs.
func openJournal(c Config, begin bool) (*journal, error) {
	if c.StateDir == "" {
		return &journal{}, nil
	}
	name := c.Environment + "-" + c.Deployment.Name
	if c.Environment == envbench.Emulator {
		name += "-" + journalWord.ReplaceAllString(c.Options.Endpoint, "-")
	}
	path, flags := filepath.Join(c.StateDir, "bench", name+".json"), os.O_RDWR
	if begin {
		flags |= os.O_CREATE
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
	}
	for {
		f, err := os.OpenFile(path, flags, 0o600)
		if errors.Is(err, fs.ErrNotExist) && !begin {
			return &journal{}, nil
		} else if err != nil {
			return nil, err
		}
		j := &journal{f: f}
		free, err := envbench.Lock(f)
		if err == nil {
			err = j.read()
		}
		switch {
		case err != nil:
			return nil, errors.Join(err, f.Close())
		case !free:
			return nil, errors.Join(fmt.Errorf("another process measures the cluster %q in %s: wait for it, or use another --name", c.Deployment.Name, c.Environment), f.Close())
		case j.current():
			return j, nil
		}
		_ = f.Close() // who had it has ended meanwhile, and removed it
	}
}

// current reports whether the file is the one that has its name.
func (j *journal) current() bool {
	a, err := j.f.Stat()
	b, e := os.Stat(j.f.Name())
	return err == nil && e == nil && os.SameFile(a, b)
}

func (j *journal) read() error {
	text, err := io.ReadAll(j.f)
	var e entry
	if err == nil && json.Unmarshal(text, &e) == nil { // else who began it had made nothing yet
		j.left = &e
	}
	return err
}

// begin says that from now on something may be there.
func (j *journal) begin() error {
	j.left = &entry{os.Getpid(), time.Now().UTC().Truncate(time.Second), os.TempDir()}
	if j.f == nil {
		return nil
	}
	text, err := json.Marshal(j.left)
	if err == nil {
		err = j.f.Truncate(0)
	}
	if err == nil {
		_, err = j.f.WriteAt(append(text, '\n'), 0)
	}
	return err
}

// end removes the journal, unless something may be left: then it stays for whoever comes
// next.
func (j *journal) end() error {
	if j.f == nil {
		return nil
	}
	var err error
	if j.left == nil {
		err = os.Remove(j.f.Name())
	}
	return errors.Join(err, j.f.Close())
}

// RemoveLeft removes what a measurement that was killed has left of a deployment and beside
// it, and says so; nothing, if there was none.
func RemoveLeft(ctx context.Context, d envbench.Driver, c Config) error {
	s := sessionOf(d, c)
	j, err := openJournal(s.Config, false)
	if err != nil {
		return err
	}
	return errors.Join(s.removeLeft(ctx, j), j.end())
}

// removeLeft removes what another process has left, as the journal says.
func (s *session) removeLeft(ctx context.Context, j *journal) error {
	if j.left == nil {
		return nil
	}
	s.tell("a measurement that began at %v was killed (process %d): what it has left is removed", j.left.Begun.Format(time.DateTime), j.left.PID)
	if err := s.remove(ctx, j.left); err != nil {
		return fmt.Errorf("what a measurement that was killed has left: %w", err)
	}
	j.left = nil
	return nil
}

// remove removes all that a measurement may have made. It goes on where something cannot be
// removed, and says what.
func (s *session) remove(ctx context.Context, of *entry) error {
	ctx, cancel := context.WithTimeout(ctx, cleanWithin)
	defer cancel()
	var errs []error
	if s.Environment != envbench.AWS { // where the deployment was there before
		for _, name := range s.names() {
			if own := of.PID == os.Getpid(); own && s.Hello == "" && name == helloName(s.Deployment.Name) {
				continue // there are none
			}
			if err := s.driver.Down(ctx, name); err != nil {
				errs = append(errs, fmt.Errorf("%s is not all removed: %w", name, err))
			}
		}
	}
	if r, ok := s.driver.(envbench.Rebuilder); ok {
		errs = append(errs, r.Clean(ctx))
	}
	_, err := envbench.RemoveTemp(of.Temp, of.PID) // before images: who builds one has a folder
	errs = append(errs, err)
	if w, ok := s.driver.(envbench.Sweeper); ok && (s.Environment != envbench.AWS || of.PID != os.Getpid()) {
		errs = append(errs, w.Sweep(ctx, s.Deployment.Name, of.PID))
	}
	return errors.Join(errs...)
}
