package node

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/geecache/geecache/geecache"
)

// headerRequestID names a request in the log: of a request, and of an answer that is an
// error or came late.
const headerRequestID = "X-Request-Id"

// headerTrace is what a load balancer of AWS gives to each request.
const headerTrace = "X-Amzn-Trace-Id"

// requestID returns the ID that a request brings, or one made for it. It is called only
// when there is something to tell: a hit has no ID.
func requestID(h http.Header) string {
	if id := h.Get(headerRequestID); isID(id) {
		return id
	}
	for field := range strings.SplitSeq(h.Get(headerTrace), ";") {
		if root, ok := strings.CutPrefix(strings.TrimSpace(field), "Root="); ok && isTrace(root) {
			return root
		}
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// isID reports whether an ID may go into a log and an answer as it is.
func isID(s string) bool {
	const longest = 128
	if s == "" || len(s) > longest {
		return false
	}
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+=@") == ""
}

// isTrace reports whether s has the form of a trace's ID, 1-67891233-abcdef012345678912345678.
func isTrace(s string) bool {
	return len(s) == 35 && s[:2] == "1-" && s[10] == '-' &&
		strings.Trim(s[2:10]+s[11:], "0123456789abcdef") == ""
}

// A requestLog tells the log of requests to the API that failed or came late, so many a
// second and no more: under an outage each request may fail. The zero value of its
// counters is ready to use.
type requestLog struct {
	log  *slog.Logger // nil: none
	slow time.Duration

	rate perSecond
	kept atomic.Int64 // not told since the last line
}

// A perSecond counts what happens in a second. Its zero value is ready to use.
type perSecond struct {
	second atomic.Int64 // to which count belongs
	count  atomic.Int64
}

// allows counts one more, and reports whether there are at most so many in this second.
func (p *perSecond) allows(most int64) bool {
	now := time.Now().Unix()
	if before := p.second.Load(); before != now && p.second.CompareAndSwap(before, now) {
		p.count.Store(0)
	}
	return p.count.Add(1) <= most
}

// requestsASecond is how many requests a second are told of.
const requestsASecond = 10

// tell writes a line about a request, whose ID goes into the answer's header too.
func (l *requestLog) tell(w http.ResponseWriter, r *http.Request, msg string, attrs ...slog.Attr) {
	id := requestID(r.Header)
	w.Header().Set(headerRequestID, id)
	if l.log == nil {
		return
	}
	if !l.rate.allows(requestsASecond) {
		l.kept.Add(1)
		return
	}
	attrs = append(attrs, slog.String("request", id), slog.String("method", r.Method), slog.String("path", r.URL.Path))
	if n := l.kept.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("not_told", n))
	}
	l.log.LogAttrs(r.Context(), slog.LevelWarn, msg, attrs...)
}

// failed tells of an answer that is an error. Only the server's own are logged: what the
// client got wrong, and what there is not, the client knows.
func (l *requestLog) failed(w http.ResponseWriter, r *http.Request, status int, code geecache.Code, msg string) {
	if status < http.StatusInternalServerError {
		w.Header().Set(headerRequestID, requestID(r.Header))
		return
	}
	l.tell(w, r, "request failed", slog.Int("status", status), slog.String("code", code.String()), slog.String("err", msg))
}

// late tells of an answer that took long. start is when the request came.
func (l *requestLog) late(w http.ResponseWriter, r *http.Request, start time.Time, from string) {
	if took := time.Since(start); l.slow > 0 && took >= l.slow {
		l.tell(w, r, "request was slow", slog.String("took", fmt.Sprint(took)), slog.String("from", from))
	}
}
