package tfdeploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxTold is how many of a key's owners the API tells.
const maxTold = 8

// agreeing is how many answers in a row must tell of all nodes: they come from several
// API servers.
const agreeing = 5

// A Waiter waits for a deployment to answer. Its Client, Pause and Progress may be
// left out.
type Waiter struct {
	URL    string // of the API
	Token  string // that the API asks for
	Nodes  int    // that there are to be
	Client *http.Client
	Pause  time.Duration // between two questions. Default: 1 s

	// Progress is told what is still missing, when that changes.
	Progress func(text string)
}

// Wait returns nil when the API is ready and knows of all nodes (of eight, if there are
// more), in several answers one after the other. When ctx ends it returns an error
// that says what was missing last.
func (w Waiter) Wait(ctx context.Context) error {
	if w.Client == nil {
		w.Client = &http.Client{Timeout: 10 * time.Second}
	}
	if w.Pause == 0 {
		w.Pause = time.Second
	}
	var last error
	for good := 0; good < agreeing; {
		err := w.ask(ctx)
		if err == nil {
			good++
			continue
		}
		if errors.Is(err, errToken) {
			return err
		}
		good = 0
		if ctx.Err() == nil {
			if w.Progress != nil && (last == nil || last.Error() != err.Error()) {
				w.Progress(err.Error())
			}
			last = err
		}
		pause := time.NewTimer(w.Pause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			if last == nil {
				last = err
			}
			return fmt.Errorf("the deployment does not answer as it should: %w", last)
		}
	}
	return nil
}

// errToken is told at once: waiting does not help.
var errToken = errors.New("the API does not take the token")

func (w Waiter) ask(ctx context.Context) error {
	if status, _, err := w.get(ctx, "/readyz"); err != nil || status != http.StatusOK {
		return fmt.Errorf("no API server is ready (status %d): %w", status, orNotYet(err))
	}
	status, body, err := w.get(ctx, "/api/explain?key=Tom")
	switch {
	case err != nil:
		return err
	case status == http.StatusUnauthorized:
		return errToken
	case status >= 500:
		return fmt.Errorf("the API answers with status %d: %.200s", status, body)
	}
	var told struct {
		Owners []string
		Error  string
	}
	if err := json.Unmarshal(body, &told); err != nil {
		return fmt.Errorf("the API answers with status %d, and no explanation: %w", status, err)
	}
	want := min(w.Nodes, maxTold)
	if len(told.Owners) < want || w.Nodes < maxTold && len(told.Owners) > want {
		return fmt.Errorf("the ring has %d of %d nodes", len(told.Owners), w.Nodes)
	}
	return nil
}

func orNotYet(err error) error {
	if err != nil {
		return err
	}
	return errors.New("not yet")
}

func (w Waiter) get(ctx context.Context, path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+path, nil)
	if err != nil {
		return 0, nil, err
	}
	if w.Token != "" {
		req.Header.Set("Authorization", "Bearer "+w.Token)
	}
	resp, err := w.Client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, body, err
}
