package suite

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/geecache/geecache/benchmarks/internal/process"
)

// Roles are the roles of processes that measurements need.
func Roles() map[string]process.Role {
	return map[string]process.Role{"worker": work, "serve": serve, "member": beMember, "registry": beRegistry}
}

// A request asks a worker for one measurement.
type request struct {
	Scale   Scale
	Suite   string
	Group   string
	Subject string
	Point   Point
}

type response struct {
	Values Values
	Error  string `json:",omitempty"`
}

// A Worker is a process that measures one subject of one group.
type Worker struct {
	child *process.Child
	req   request
}

// StartWorker starts a worker.
func StartWorker(ctx context.Context, scale Scale, suite, group, subject string) (*Worker, error) {
	child, err := process.Start(ctx, "worker", nil, suite, group, subject)
	if err != nil {
		return nil, err
	}
	return &Worker{child, request{Scale: scale, Suite: suite, Group: group, Subject: subject}}, nil
}

// Measure takes one measurement.
func (w *Worker) Measure(p Point) (Values, error) {
	req := w.req
	req.Point = p
	var resp response
	if err := w.child.Ask(req, &resp); err != nil {
		return nil, err
	}
	if resp.Error != "" {
		return nil, errors.New(resp.Error)
	}
	return resp.Values, nil
}

// Close ends the worker.
func (w *Worker) Close() error { return w.child.Close() }

// work is the role of a worker.
func work(ctx context.Context, _ []string, in io.Reader, out io.Writer) (err error) {
	var m Measurer
	defer func() {
		if m != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var req request
		if err := json.Unmarshal(lines.Bytes(), &req); err != nil {
			return err
		}
		if m == nil {
			if m, err = newMeasurer(ctx, req); err != nil {
				if err := process.Tell(out, response{Error: err.Error()}); err != nil {
					return err
				}
				continue
			}
		}
		var resp response
		if resp.Values, err = m.Measure(ctx, req.Point); err != nil {
			resp.Error = err.Error()
		}
		if err := process.Tell(out, resp); err != nil {
			return err
		}
	}
	return lines.Err()
}

func newMeasurer(ctx context.Context, req request) (Measurer, error) {
	s, err := Find(req.Suite)
	if err != nil {
		return nil, err
	}
	groups := s.Groups(req.Scale)
	g := slices.IndexFunc(groups, func(g Group) bool { return g.Name == req.Group })
	if g < 0 {
		return nil, fmt.Errorf("suite %s has no group %q", s.Name, req.Group)
	}
	subjects := groups[g].Subjects
	i := slices.IndexFunc(subjects, func(s Subject) bool { return s.Name == req.Subject })
	if i < 0 {
		return nil, fmt.Errorf("group %s has no subject %q", req.Group, req.Subject)
	}
	return subjects[i].New(ctx, req.Scale)
}
