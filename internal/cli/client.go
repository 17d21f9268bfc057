package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
	"github.com/geecache/geecache/internal/node"
)

// defaultAddr is where `geecache cluster` puts the API server.
const defaultAddr = "127.0.0.1:9999"

// Bounds of what a client reads: a node allows values of up to 1 GiB.
const (
	maxClientValue = 1<<30 + 64
	maxClientJSON  = 64 << 20
)

// The exit statuses of commands that ask for keys.
const (
	exitNotFound = 1
	exitFailed   = 2
)

// errAbsent: the path that was asked for is not there, which tells a cache node
// from an API server.
var errAbsent = errors.New("no such path")

// clientError ends a command with an exit status.
type clientError struct {
	err  error
	code int
}

func (e *clientError) Error() string { return e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }
func (e *clientError) ExitCode() int { return e.code }

// failed makes err end the command with the status for failures.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &clientError{err: err, code: exitFailed}
}

// clientFlags are the flags of all commands that ask a running node.
type clientFlags struct {
	trustFlags
	addr    string
	timeout time.Duration
	json    bool
}

func (f *clientFlags) register(cmd *cobra.Command, timeout time.Duration) {
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", defaultAddr, "host:port of the API server or of any node, or its URL")
	flags.DurationVar(&f.timeout, "timeout", timeout, "how long to wait for an answer")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	f.registerClient(flags)
}

// client makes the client that the flags ask for.
func (f *clientFlags) client() (*client, error) {
	if f.timeout <= 0 {
		return nil, usagef("--timeout: %v: use a positive duration such as 5s", f.timeout)
	}
	return newClient(f.addr, f.timeout, &f.trustFlags)
}

// A client asks the HTTP endpoints of one node, and of its peers.
type client struct {
	base    url.URL // scheme and host
	http    *http.Client
	timeout time.Duration
}

func newClient(addr string, timeout time.Duration, trusted *trustFlags) (*client, error) {
	if trusted.tls.Given() && !strings.Contains(addr, "://") {
		addr = "https://" + addr
	}
	base, err := parseAddr(addr)
	if err != nil {
		return nil, usagef("--addr: %w", err)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil // nodes are asked directly, wherever the user's proxy is
	rt, err := trusted.transport(t)
	if err != nil {
		return nil, &usageError{err}
	}
	return &client{base: *base, http: &http.Client{Transport: rt}, timeout: timeout}, nil
}

// parseAddr understands host:port, :port and URLs of a scheme and a host.
func parseAddr(addr string) (*url.URL, error) {
	full := addr
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil || u.Port() == "" && !strings.Contains(addr, "://") || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%q: use host:port, such as %s", addr, defaultAddr)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q: use http or https, or leave the scheme out", addr)
	}
	if u.Hostname() == "" {
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// peer returns the client for another node of the same cluster.
func (c *client) peer(addr string) (*client, error) {
	if _, rest, ok := strings.Cut(addr, "://"); ok {
		addr = rest // it names how nodes speak to it; this is HTTP in any case
	}
	u, err := parseAddr(c.base.Scheme + "://" + addr)
	if err != nil {
		return nil, err
	}
	p := *c
	p.base = *u
	return &p, nil
}

// get asks for path and returns the response's head and its body, read whole.
func (c *client) get(ctx context.Context, path, query string, most int64) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	target := c.base.String() + path // path is escaped: nothing may clean it
	if query != "" {
		target += "?" + query
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, c.explain(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, nil, c.explain(ctx, err)
	case int64(len(body)) > most:
		return nil, nil, fmt.Errorf("%s: the answer is larger than %d bytes", c.base.Host, most)
	}
	return resp, body, nil
}

// explain says what a failed request means and what to do.
func (c *client) explain(ctx context.Context, err error) error {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %v: it hangs, or needs a longer --timeout", c.base.Host, c.timeout)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &dns):
		return fmt.Errorf("%s: no such host: name a node with --addr", c.base.Hostname())
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("nothing listens on %s: start a cluster with `geecache cluster`, or name a node with --addr", c.base.Host)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%s: %w", c.base.Host, err)
}

// getJSON asks for path and decodes what comes. If the path is not there, the
// error wraps errAbsent.
func (c *client) getJSON(ctx context.Context, path, query string, v any) error {
	resp, body, err := c.get(ctx, path, query, maxClientJSON)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if resp.StatusCode == http.StatusNotFound && !isAnswer(resp) {
			return fmt.Errorf("%s: %w: %s", c.base.Host, errAbsent, path)
		}
		return fmt.Errorf("%s answers %s: %s", c.base.Host, resp.Status, firstLine(body))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s: %s is not what this version expects: %w", c.base.Host, path, err)
	}
	return nil
}

// isAnswer reports whether a 404 is about a key or a group, and not about a
// path that is not there.
func isAnswer(resp *http.Response) bool {
	switch geecache.ParseCode(resp.Header.Get("Geecache-Error")) {
	case geecache.CodeNotFound, geecache.CodeNoGroup:
		return true
	}
	return false
}

// A keyAnswer is a value with where it came from.
type keyAnswer struct {
	value []byte
	from  string // as geecache.Origin names it
	ttl   string // a duration; empty: no limit
}

// value asks for a key: an API server through its own door, a cache node
// through the peer protocol. The error wraps geecache.ErrNotFound if there is
// no such key.
func (c *client) value(ctx context.Context, group, key string) (keyAnswer, error) {
	query := url.Values{"key": {key}, "group": {group}}.Encode()
	resp, body, err := c.get(ctx, "/api", query, maxClientValue)
	if err != nil {
		return keyAnswer{}, err
	}
	if resp.StatusCode == http.StatusNotFound && !isAnswer(resp) {
		return c.peerValue(ctx, group, key)
	}
	return c.answerOf(resp, body)
}

// peerValue asks for a key by the protocol of nodes.
func (c *client) peerValue(ctx context.Context, group, key string) (keyAnswer, error) {
	resp, body, err := c.get(ctx, "/_geecache/"+url.PathEscape(group)+"/"+escapeKey(key), "", maxClientValue)
	if err != nil {
		return keyAnswer{}, err
	}
	if resp.StatusCode == http.StatusNotFound && !isAnswer(resp) {
		return keyAnswer{}, fmt.Errorf("%s is no GeeCache node: it has neither /api nor /_geecache", c.base.Host)
	}
	a, err := c.answerOf(resp, body)
	if err != nil {
		return a, err
	}
	var pb geecachepb.Response
	if err := proto.Unmarshal(body, &pb); err != nil {
		return keyAnswer{}, fmt.Errorf("%s is no GeeCache node: its answer is no protobuf Response: %w", c.base.Host, err)
	}
	a.value = pb.Value
	return a, nil
}

// escapeKey escapes a key for a path, in which nothing may read "." and ".." as
// folders.
func escapeKey(key string) string {
	if key == "." || key == ".." {
		return strings.ReplaceAll(key, ".", "%2E")
	}
	return url.PathEscape(key)
}

// answerOf reads what the status says.
func (c *client) answerOf(resp *http.Response, body []byte) (keyAnswer, error) {
	a := keyAnswer{value: body, from: resp.Header.Get("Geecache-From"), ttl: resp.Header.Get("Geecache-Ttl")}
	if resp.StatusCode == http.StatusOK {
		return a, nil
	}
	text := firstLine(body)
	if text == "" {
		text = resp.Status
	}
	code := geecache.ParseCode(resp.Header.Get("Geecache-Error"))
	if code == geecache.CodeNotFound {
		return a, fmt.Errorf("%w: %s", geecache.ErrNotFound, text)
	}
	if s := resp.Header.Get("Retry-After"); s != "" {
		text += " (try again in " + s + " s)"
	}
	return a, fmt.Errorf("%s answers %d: %s", c.base.Host, resp.StatusCode, text)
}

func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body[:min(len(body), 1024)])), "\n")
	return line
}

// status asks for what the node says of itself.
func (c *client) status(ctx context.Context) (*memberStatus, error) {
	var s memberStatus
	err := c.getJSON(ctx, "/statusz", "", &s)
	if errors.Is(err, errAbsent) || err == nil && s.ID == "" {
		return nil, fmt.Errorf("%s is no GeeCache node: it has no /statusz: name a node with --addr", c.base.Host)
	}
	return &s, err
}

// A memberStatus is what a member's /statusz says, as far as commands read it.
type memberStatus struct {
	geecache.NodeStats
	Registry *node.RegistryStatus `json:"registry,omitempty"`
}

// A nodeReport is what one member of the cluster says, or why it says nothing.
type nodeReport struct {
	ID     string        `json:"id"`
	Addr   string        `json:"addr"`
	Role   geecache.Role `json:"role"`
	Error  string        `json:"error,omitempty"`
	Status *memberStatus `json:"status,omitempty"`

	client *client
}

// cluster asks the node and all peers that it knows, at the same time. The
// first report is of the node itself; the others are sorted, nodes first.
func (c *client) cluster(ctx context.Context) ([]nodeReport, error) {
	self, err := c.status(ctx)
	if err != nil {
		return nil, err
	}
	reports := []nodeReport{{ID: self.ID, Addr: c.base.Host, Role: self.Role, Status: self, client: c}}
	for _, p := range self.Peers {
		if p.ID != self.ID && p.Addr != "" {
			reports = append(reports, nodeReport{ID: p.ID, Addr: p.Addr, Role: p.Role})
		}
	}
	var wg sync.WaitGroup
	for i := range reports[1:] {
		r := &reports[i+1]
		wg.Go(func() {
			p, err := c.peer(r.Addr)
			if err == nil {
				r.client = p
				r.Status, err = p.status(ctx)
			}
			if err != nil {
				r.Status, r.Error = nil, reachError(err)
			}
		})
	}
	wg.Wait()
	slices.SortStableFunc(reports[1:], func(a, b nodeReport) int {
		if a.Role != b.Role {
			return strings.Compare(string(b.Role), string(a.Role)) // node, client
		}
		return strings.Compare(a.ID, b.ID)
	})
	return reports, ctx.Err()
}

// reachError shortens the advice for a user who named a node himself.
func reachError(err error) string {
	text := err.Error()
	if strings.HasPrefix(text, "nothing listens on ") {
		text, _, _ = strings.Cut(text, ": start")
	}
	return text
}

// keyText returns a key as people can read it: as it is if it is plain text,
// else quoted as in Go.
func keyText(key string) string {
	plain := key != "" && utf8.ValidString(key) && key[0] != '"' && strings.TrimSpace(key) == key
	for _, r := range key {
		plain = plain && unicode.IsPrint(r)
	}
	if plain {
		return key
	}
	return strconv.Quote(key)
}

// shortDuration rounds a duration to what a reader can use.
func shortDuration(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 10_000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
