package judge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/geecache/geecache/internal/envbench"
)

// The last stage of a deployment: until the API gives the value that a key has.
const stageFirstAnswer = "first-answer"

// The deadline of a first right answer, and the pause between two tries.
const (
	answerWithin = 30 * time.Second
	answerPause  = 10 * time.Millisecond
)

// firstAnswer asks the API for a key until it gives the right value, and returns how long
// that took.
func firstAnswer(ctx context.Context, now *envbench.Status) (time.Duration, error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	e := envbench.DemoExpect()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second} // no proxy
	target := now.API + "/api?" + url.Values{"key": {e.Key}, "group": {e.Group}}.Encode()
	for {
		err := answers(ctx, client, target, e.Value)
		if err == nil {
			return time.Since(begun), nil
		}
		if !pause(ctx, answerPause) {
			return 0, fmt.Errorf("no right answer within %v: %w", answerWithin, err)
		}
	}
}

// answers returns an error unless a URL's answer is a value.
func answers(ctx context.Context, client *http.Client, target, value string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || string(body) != value {
		return fmt.Errorf("%s: status %d, %.100q", target, resp.StatusCode, body)
	}
	return nil
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
