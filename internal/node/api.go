package node

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/plain"
)

// The headers of the API. Errors have the name of their geecache.Code in
// headerError.
const (
	headerError    = "Geecache-Error"
	headerFrom     = "Geecache-From"      // where the answering node had the value from: hit, hot, peer or load
	headerNode     = "Geecache-Node"      // ID of the node whose memory or source gave it, escaped as in a path
	headerPeerFrom = "Geecache-Peer-From" // with "peer": where that node had it from
	headerTTL      = "Geecache-Ttl"       // what is left of its TTL, a Go duration; absent: no limit
	headerTimeout  = "Geecache-Timeout"   // of a request: its deadline, a Go duration
)

// APIConfig bounds the API. Its zero value takes the defaults.
type APIConfig struct {
	// Timeout is the deadline of a request that names no shorter one. Default:
	// 15 s.
	Timeout time.Duration

	// SlowRequest is how long a request may take until the log tells of it. Hits are
	// not timed. Default: 1 s; negative: never.
	SlowRequest time.Duration

	// MaxInFlight bounds the requests that are being answered; those beyond
	// are refused with 503. Default: 4096.
	MaxInFlight int

	// MaxBatchKeys and MaxBatchBytes bound a batch: its keys, and the bytes of
	// its body. Defaults: 10,000 and 4 MiB.
	MaxBatchKeys, MaxBatchBytes int
}

const (
	defaultAPITimeout    = 15 * time.Second
	defaultSlowRequest   = time.Second
	defaultMaxInFlight   = 4096
	defaultMaxBatchKeys  = 10_000
	defaultMaxBatchBytes = 4 << 20
)

func (c APIConfig) withDefaults() APIConfig {
	if c.Timeout == 0 {
		c.Timeout = defaultAPITimeout
	}
	if c.SlowRequest == 0 {
		c.SlowRequest = defaultSlowRequest
	}
	for _, f := range []struct {
		field *int
		value int
	}{
		{&c.MaxInFlight, defaultMaxInFlight},
		{&c.MaxBatchKeys, defaultMaxBatchKeys},
		{&c.MaxBatchBytes, defaultMaxBatchBytes},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return c
}

// Validate returns an error that names the first setting that makes no sense.
func (c APIConfig) Validate() error {
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("--api-timeout is %v: use a positive duration", c.Timeout)
	case c.MaxInFlight < 0:
		return fmt.Errorf("--api-max-inflight is %d: use a positive number", c.MaxInFlight)
	case c.MaxBatchKeys < 0 || c.MaxBatchBytes < 0:
		return fmt.Errorf("APIConfig.MaxBatchKeys and MaxBatchBytes are %d and %d: use positive numbers", c.MaxBatchKeys, c.MaxBatchBytes)
	}
	return nil
}

// An API answers /api, /api/batch and /api/explain from a node's groups, and in a process
// /api/members. It is
// safe for concurrent use.
type API struct {
	node *geecache.Node
	cfg  APIConfig
	// first is the group of a request that names none.
	first string
	self  []string // the node's ID as a header has it

	guard    *guard
	members  *members // nil: the process has none
	requests requestLog
	digests  digests
	dates    plain.Dater
	inFlight atomic.Int64
	refused  atomic.Int64
}

// NewAPI returns the API of a node, whose group first is the default.
func NewAPI(n *geecache.Node, first string, cfg APIConfig) (*API, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &API{node: n, cfg: cfg.withDefaults(), first: first, self: []string{url.PathEscape(n.ID())}}
	a.digests.seed = maphash.MakeSeed()
	a.requests.slow = a.cfg.SlowRequest
	return a, nil
}

// IsAPI reports whether a path is the API's.
func IsAPI(path string) bool { return path == "/api" || strings.HasPrefix(path, "/api/") }

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n := a.inFlight.Add(1); n > int64(a.cfg.MaxInFlight) {
		a.inFlight.Add(-1)
		a.refused.Add(1)
		w.Header().Set("Retry-After", "1")
		a.refuse(w, r, http.StatusServiceUnavailable, geecache.CodeOverloaded,
			fmt.Sprintf("overloaded: %d requests are being answered (--api-max-inflight)", a.cfg.MaxInFlight))
		return
	}
	defer a.inFlight.Add(-1)
	if !a.node.Ready() {
		w.Header().Set("Connection", "close") // the client finds another server sooner
	}
	switch r.URL.Path {
	case "/api":
		if a.allow(w, r, http.MethodGet, http.MethodHead) {
			a.serveKey(w, r)
		}
	case "/api/batch":
		if a.allow(w, r, http.MethodPost) {
			a.serveBatch(w, r)
		}
	case "/api/explain":
		if a.allow(w, r, http.MethodGet, http.MethodHead) {
			a.serveExplain(w, r)
		}
	case "/api/members":
		if a.allow(w, r, http.MethodGet, http.MethodHead) {
			a.serveMembers(w, r)
		}
	default:
		a.refuse(w, r, http.StatusNotFound, geecache.CodeBadRequest, "nothing is here: there are /api?key=K, /api/batch, /api/explain?key=K and /api/members")
	}
}

// allow refuses methods other than the given ones, in an answer with the request's ID.
func (a *API) allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if !slices.Contains(methods, r.Method) {
		w.Header().Set(headerRequestID, requestID(r.Header))
	}
	return allow(w, r, methods...)
}

// refuse answers with an error and the request's ID, and tells the log of it.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, status int, code geecache.Code, msg string) {
	a.requests.failed(w, r, status, code, msg)
	refuse(w, status, code, msg)
}

// allow refuses methods other than the given ones.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	list := strings.Join(methods, ", ")
	w.Header().Set("Allow", list)
	refuse(w, http.StatusMethodNotAllowed, geecache.CodeBadRequest, "use "+list)
	return false
}

// refuse answers with an error: a status, its code's name, and a line of text.
func refuse(w http.ResponseWriter, status int, code geecache.Code, msg string) {
	h := w.Header()
	h.Set(headerError, code.String())
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(msg + "\n"))
}

// A badRequest is what is wrong with a request.
type badRequest struct {
	status int
	code   geecache.Code
	msg    string
}

func (e *badRequest) Error() string { return e.msg }

func bad(format string, args ...any) error {
	return &badRequest{http.StatusBadRequest, geecache.CodeBadRequest, fmt.Sprintf(format, args...)}
}

// ask finds the group and the key that a request asks for.
func (a *API) ask(r *http.Request) (*geecache.Group, string, error) {
	q, err := plain.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, "", bad("%v", err)
	}
	if !q.HasKey {
		return nil, "", bad("parameter \"key\" is missing: use %s?key=K", r.URL.Path)
	}
	g, err := a.group(q.Group)
	if err == nil {
		err = a.admit(r, g, q.Key)
	}
	return g, q.Key, err
}

// admit refuses a request while memory is tight, unless memory answers it.
func (a *API) admit(r *http.Request, g *geecache.Group, key string) error {
	if a.guard == nil || !a.guard.tight.Load() {
		return nil
	}
	reply := a.node.Answer(r.Context(), &geecache.PeerRequest{Group: g.Name(), Key: key, Mode: geecache.ModeMemory})
	if reply.Code != geecache.CodeMiss {
		return nil
	}
	return a.guard.admit()
}

// group returns the group of that name; the default one if it is empty.
func (a *API) group(name string) (*geecache.Group, error) {
	if name == "" {
		name = a.first
	}
	if g := a.node.Group(name); g != nil {
		return g, nil
	}
	var names []string
	for _, g := range a.node.Groups() {
		names = append(names, g.Name())
	}
	const most = 128 // of a name that is none
	return nil, &badRequest{http.StatusNotFound, geecache.CodeNoGroup,
		fmt.Sprintf("no such group: %.*q; there are: %s", most, name, strings.Join(names, ", "))}
}

// within returns the request's context with its deadline, for the caller to end.
func (a *API) within(r *http.Request) (*deadline, error) {
	timeout, err := a.timeout(r)
	if err != nil {
		return nil, err
	}
	return newDeadline(r.Context(), timeout), nil
}

// timeout returns how long the request may take.
func (a *API) timeout(r *http.Request) (time.Duration, error) {
	timeout := a.cfg.Timeout
	if t := r.Header.Get(headerTimeout); t != "" {
		d, err := time.ParseDuration(t)
		if err != nil || d <= 0 {
			return 0, bad("header %s is %q: use a duration such as 500ms", headerTimeout, t)
		}
		timeout = min(timeout, d)
	}
	return timeout, nil
}

// late tells the log of a request that took long. from says what it waited for. Hits do
// not come here: they read no clock a second time.
func (a *API) late(w http.ResponseWriter, r *http.Request, ctx *deadline, from string) {
	timeout, _ := a.timeout(r) // within has found it good
	a.requests.late(w, r, ctx.at.Add(-timeout), from)
}

// serveKey answers with a key's value as it is.
func (a *API) serveKey(w http.ResponseWriter, r *http.Request) {
	g, key, err := a.ask(r)
	if err != nil {
		a.fail(w, r, key, err)
		return
	}
	ctx, err := a.within(r)
	if err != nil {
		a.fail(w, r, key, err)
		return
	}
	defer ctx.end()
	res, err := g.Lookup(ctx, key)
	a.setOrigin(w.Header(), &res)
	if err != nil {
		a.fail(w, r, key, err)
		return
	}
	if res.From == geecache.FromLoad || res.From == geecache.FromPeer {
		a.late(w, r, ctx, res.From.String())
	}
	a.writeValue(w, r, g, key, &res)
}

// fail answers with an error.
func (a *API) fail(w http.ResponseWriter, r *http.Request, key string, err error) {
	o := outcomeOf(key, err)
	if o.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((o.retryAfter+time.Second-1)/time.Second)))
	}
	a.refuse(w, r, o.status, o.code, o.msg)
}

// An outcome is how the API tells of an error.
type outcome struct {
	status     int
	code       geecache.Code
	msg        string
	retryAfter time.Duration
}

// outcomeOf returns how to tell of an error about a key.
func outcomeOf(key string, err error) outcome {
	var b *badRequest
	if errors.As(err, &b) {
		return outcome{status: b.status, code: b.code, msg: b.msg}
	}
	code := geecache.CodeOf(err)
	o := outcome{status: code.HTTPStatus(), code: code, msg: err.Error()}
	switch code {
	case geecache.CodeNotFound:
		o.msg = key + " not exist"
	case geecache.CodeOverloaded, geecache.CodeUnavailable, geecache.CodeDraining:
		o.retryAfter = time.Second
		var remote *geecache.RemoteError
		if errors.As(err, &remote) && remote.RetryAfter > 0 {
			o.retryAfter = remote.RetryAfter
		}
	case geecache.CodeDeadline:
		o.msg = "no answer before the request's deadline (--api-timeout, or the header " + headerTimeout + ")"
	}
	return o
}

func tooLargeText(what, unit string, most int) string {
	return fmt.Sprintf("%s is too large: the limit is %d %s", what, most, unit)
}
