// Package http is a source that fetches each value from an HTTP origin with
// one GET and keeps it for as long as the origin says. It refuses to follow a
// redirect to another host, and no key can lead to one.
package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"sync"

	"github.com/geecache/geecache/geecache"
)

// ErrClosed is what Get returns once Close has been called.
var ErrClosed = errors.New("http: source is closed")

// A Source is a [geecache.Getter] that asks an HTTP origin. Its methods are
// safe for concurrent use.
//
// The statuses 200, 203 and 204 are values, 404 and 410 are not found, and all
// others are errors. The key is percent-escaped; the empty key is an empty
// segment of the path or an empty parameter.
type Source struct {
	cfg      Config
	template template
	client   *nethttp.Client

	open      context.Context // ends with Close
	end       context.CancelFunc
	closeOnce sync.Once
}

// Open returns a Source of the origin. It sends nothing yet.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t, err := parseTemplate(cfg.URL)
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	cfg.Header = cfg.Header.Clone()
	if cfg.Transport == nil {
		cfg.Transport = newTransport()
	}
	s := &Source{cfg: cfg, template: t}
	s.client = &nethttp.Client{Transport: cfg.Transport, CheckRedirect: s.checkRedirect}
	s.open, s.end = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

// newTransport is the standard transport with idle connections kept for many
// loads at once from one host.
func newTransport() nethttp.RoundTripper {
	standard, ok := nethttp.DefaultTransport.(*nethttp.Transport)
	if !ok { // the program has put another in its place
		return nethttp.DefaultTransport
	}
	t := standard.Clone()
	t.MaxIdleConnsPerHost = 64
	return t
}

// checkRedirect keeps redirects few and at the same host: headers of the
// Config, and this process's place in the network, are for that host alone.
func (s *Source) checkRedirect(req *nethttp.Request, via []*nethttp.Request) error {
	if len(via) > s.cfg.MaxRedirects {
		return fmt.Errorf("more than %d redirects", s.cfg.MaxRedirects)
	}
	from := s.template.origin
	if req.URL.Host == from.Host && req.URL.Scheme == from.Scheme {
		return nil
	}
	if req.URL.Scheme == "https" && req.URL.Hostname() == from.Hostname() {
		return nil
	}
	return fmt.Errorf("redirect to another host, %q; if it is right, give that host's URL", req.URL.Scheme+"://"+req.URL.Host)
}

// Get fetches the value of key. It returns an error that wraps
// [geecache.ErrNotFound] if the origin has none, [geecache.ErrTooLarge] if the
// body is larger than MaxBytes, and [geecache.ErrLoadTimeout] if the origin
// did not answer within the Timeout.
func (s *Source) Get(ctx context.Context, key string) (geecache.Value, error) {
	if s.open.Err() != nil {
		return geecache.Value{}, ErrClosed
	}
	fetchCtx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	stop := context.AfterFunc(s.open, cancel)
	defer stop()

	value, err := s.fetch(fetchCtx, key)
	switch {
	case err == nil:
		return value, nil
	case errors.Is(err, geecache.ErrNotFound), errors.Is(err, geecache.ErrTooLarge):
		return geecache.Value{}, fmt.Errorf("http: %w", err)
	case s.open.Err() != nil:
		return geecache.Value{}, ErrClosed
	case ctx.Err() != nil:
		return geecache.Value{}, fmt.Errorf("http: GET: %w", ctx.Err())
	case fetchCtx.Err() != nil:
		return geecache.Value{}, fmt.Errorf("http: no answer within %v: %w", s.cfg.Timeout, geecache.ErrLoadTimeout)
	}
	return geecache.Value{}, fmt.Errorf("http: GET: %w", err)
}

func (s *Source) fetch(ctx context.Context, key string) (geecache.Value, error) {
	req, err := nethttp.NewRequestWithContext(ctx, nethttp.MethodGet, s.template.expand(key), nil)
	if err != nil {
		return geecache.Value{}, withoutURL(err)
	}
	if s.cfg.Header != nil {
		req.Header = s.cfg.Header.Clone()
		if host := req.Header.Get("Host"); host != "" {
			req.Host = host
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return geecache.Value{}, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case nethttp.StatusOK, nethttp.StatusNonAuthoritativeInfo, nethttp.StatusNoContent:
		return s.read(resp)
	case nethttp.StatusNotFound, nethttp.StatusGone:
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
		return geecache.Value{}, geecache.ErrNotFound
	}
	const excerpt = 200
	start, _ := io.ReadAll(io.LimitReader(resp.Body, excerpt))
	return geecache.Value{}, fmt.Errorf("status %s: %q", resp.Status, start)
}

// withoutURL takes the URL, which may hold a token, out of the error.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

func (s *Source) read(resp *nethttp.Response) (geecache.Value, error) {
	if resp.ContentLength > s.cfg.MaxBytes {
		return geecache.Value{}, fmt.Errorf("body of %d bytes, more than %d: %w", resp.ContentLength, s.cfg.MaxBytes, geecache.ErrTooLarge)
	}
	if resp.ContentLength >= 0 { // one allocation of its exact size
		body := make([]byte, resp.ContentLength)
		if _, err := io.ReadFull(resp.Body, body); err != nil {
			return geecache.Value{}, err
		}
		return geecache.Value{Bytes: body, TTL: freshness(resp.Header)}, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, s.cfg.MaxBytes+1))
	if err != nil {
		return geecache.Value{}, err
	}
	if int64(len(body)) > s.cfg.MaxBytes {
		return geecache.Value{}, fmt.Errorf("body of more than %d bytes: %w", s.cfg.MaxBytes, geecache.ErrTooLarge)
	}
	return geecache.Value{Bytes: body, TTL: freshness(resp.Header)}, nil
}

// Close ends the requests that run, which return [ErrClosed], and closes the
// idle connections of the Source's own transport.
func (s *Source) Close() error {
	s.closeOnce.Do(func() {
		s.end()
		s.client.CloseIdleConnections()
	})
	return nil
}
