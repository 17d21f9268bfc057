package node

import (
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/peergrpc"
)

// A handler answers what is asked of a process besides the peer protocols:
// gRPC, the API where it is served, and the endpoints for operators:
//
//	/healthz  200 while the process lives
//	/readyz   200 while it should be sent requests, 503 before and after
//	/metrics  for Prometheus
//	/statusz  identity, view, groups and counters, as JSON
//	/topz     the keys that are hit most, as JSON; ?n=20&group=NAME
//	/logz     POST ?marker=ID logs a line that can be looked for
//
// With a port of their own for operators, the last four are there alone, and
// /debug/pprof/ too. Only the first two are for strangers.
type handler struct {
	p     *Process
	api   *API // nil: not on this port
	admin bool // this is the operators' port
}

// ServeHTTP implements http.Handler. The switch is one comparison for most
// requests: a multiplexer that cleans paths would cost more than a hit.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if h.api != nil && IsAPI(path) {
		if !h.p.allowsAPI(r) {
			w.Header().Set(headerRequestID, requestID(r.Header))
			refuseToken(w, errNoAPIToken)
			return
		}
		if err := h.p.node.Refused(); err != nil {
			h.api.refuse(w, r, http.StatusServiceUnavailable, geecache.CodeOf(err), err.Error())
			return
		}
		h.api.ServeHTTP(w, r)
		return
	}
	if path == "/_geecache/" && r.Header.Get("Upgrade") == "" { // a token is wanted
		h.p.node.ServeHTTP(w, r)
		return
	}
	if !h.admin && peergrpc.IsGRPC(r) {
		h.p.grpc.ServeHTTP(w, r)
		return
	}
	var serve func(http.ResponseWriter, *http.Request)
	switch path {
	case "/healthz":
		serve = h.serveHealth
	case "/readyz":
		serve = h.serveReady
	default:
		if serve = h.operators(path); serve == nil {
			refuse(w, http.StatusNotFound, geecache.CodeBadRequest, h.directory())
			return
		}
		if err := h.p.allowsAdmin(r, h.admin); err != nil {
			refuseToken(w, err)
			return
		}
	}
	methods := []string{http.MethodGet, http.MethodHead}
	if path == "/logz" {
		methods = []string{http.MethodPost}
	}
	if allow(w, r, methods...) {
		serve(w, r)
	}
}

// operators returns what serves a path that is for operators, nil if there is no
// such path here.
func (h handler) operators(path string) func(http.ResponseWriter, *http.Request) {
	if h.p.cfg.AdminListen != "" && !h.admin {
		return nil
	}
	switch {
	case path == "/metrics":
		return h.p.metrics.ServeHTTP
	case path == "/statusz":
		return h.serveStatus
	case path == "/topz":
		return h.serveTop
	case path == "/logz":
		return h.p.marks.serve
	case h.admin && strings.HasPrefix(path, "/debug/pprof/"):
		return servePprof
	}
	return nil
}

// directory says what is here.
func (h handler) directory() string {
	ops := "/healthz, /readyz, /metrics, /statusz, /topz and /logz"
	switch {
	case h.admin:
		return "nothing is here: there are " + ops + ", and /debug/pprof/"
	case h.p.cfg.AdminListen != "":
		ops = "/healthz and /readyz"
	}
	if h.api != nil {
		return "nothing is here: there are /api?key=K, /api/batch, /api/explain, /api/members, " + ops
	}
	return "nothing is here: there are /_geecache/<group>/<key>, " + ops + "; the API is on another port"
}

func (h handler) serveHealth(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, "ok")
}

func (h handler) serveReady(w http.ResponseWriter, _ *http.Request) {
	if !h.p.ready() {
		state := h.p.node.State()
		if h.p.node.Ready() {
			state = "loading a snapshot"
		}
		writeText(w, http.StatusServiceUnavailable, state)
		return
	}
	writeText(w, http.StatusOK, "ready")
}

func writeText(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// A status is what /statusz shows: the node's own figures, and the process's.
type status struct {
	geecache.NodeStats
	Registry *RegistryStatus `json:"registry,omitempty"` // absent without one
	Snapshot *SnapshotStatus `json:"snapshot,omitempty"` // absent without --snapshot
	Process  processStatus   `json:"process"`
}

type processStatus struct {
	PID         int       `json:"pid"`
	Program     string    `json:"program"` // its version
	Go          string    `json:"go"`
	OS          string    `json:"os"`
	MaxProcs    int       `json:"max_procs"`
	Goroutines  int       `json:"goroutines"`
	HeapBytes   uint64    `json:"heap_bytes"`
	MemoryLimit int64     `json:"memory_limit_bytes"` // GOMEMLIMIT
	Now         time.Time `json:"now"`

	Memory *memoryStatus `json:"memory,omitempty"` // absent without a limit

	Source  string     `json:"source,omitempty"`
	Queries *int64     `json:"source_queries,omitempty"`
	API     *apiStatus `json:"api,omitempty"`
}

type memoryStatus struct {
	LimitBytes int64 `json:"limit_bytes"` // --memory-limit, or the control group's
	Tight      bool  `json:"tight"`       // loads are being refused
	Refused    int64 `json:"refused"`
}

type apiStatus struct {
	Addr     string `json:"addr"`
	InFlight int64  `json:"in_flight"`
	Refused  int64  `json:"refused"`
}

func (h handler) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, h.p.status())
}

// A queryCounter is a source that counts its queries.
type queryCounter interface{ Queries() int64 }

func (p *Process) status() status {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s := status{NodeStats: p.node.Stats(), Process: processStatus{
		PID: os.Getpid(), Program: Version(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		MaxProcs: runtime.GOMAXPROCS(0), Goroutines: runtime.NumGoroutine(),
		HeapBytes: mem.HeapAlloc, MemoryLimit: debug.SetMemoryLimit(-1), Now: time.Now(),
	}}
	if p.found != nil {
		s.Registry = p.found.status()
	}
	if p.saves != nil {
		s.Snapshot = p.saves.status()
	}
	if g := p.guard; g != nil {
		s.Process.Memory = &memoryStatus{LimitBytes: g.limit, Tight: g.tight.Load(), Refused: g.refused.Load()}
	}
	if p.source != nil {
		s.Process.Source = RedactURL(p.cfg.Source)
		if q, ok := p.source.(queryCounter); ok {
			n := q.Queries()
			s.Process.Queries = &n
		}
	}
	if p.api != nil {
		s.Process.API = &apiStatus{Addr: p.APIAddr(), InFlight: p.api.inFlight.Load(), Refused: p.api.refused.Load()}
	}
	return s
}

// version is set by the linker (-X) where the program is built without a checkout that
// would tell: in the image.
var version string

// Version returns the program's version: what the linker was told, or that of the
// module, or of the commit.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" {
		return v
	}
	return "(devel)"
}

// defaultTop is how many keys /topz tells of.
const defaultTop = 20

func (h handler) serveTop(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n := defaultTop
	if s := q.Get("n"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			refuse(w, http.StatusBadRequest, geecache.CodeBadRequest, "parameter \"n\" is "+strconv.Quote(s)+": use a positive number")
			return
		}
	}
	name := q.Get("group")
	if name == "" {
		name = h.p.cfg.Groups[0]
	}
	g := h.p.node.Group(name)
	if g == nil {
		refuse(w, http.StatusNotFound, geecache.CodeNoGroup, "no such group: "+strconv.Quote(name))
		return
	}
	top := struct {
		Node  string              `json:"node"`
		Group string              `json:"group"`
		Keys  []geecache.KeyCount `json:"keys"`
	}{h.p.node.ID(), name, append([]geecache.KeyCount{}, g.Top(n)...)}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, top)
}
