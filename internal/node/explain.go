package node

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/geecache/geecache/geecache"
)

// maxOwners bounds how many of a key's owner and stand-ins are told.
const maxOwners = 8

// An explanation tells the way of one request. TTL and Took are Go durations.
type explanation struct {
	Key       string          `json:"key"`
	KeyBase64 []byte          `json:"key_base64,omitempty"` // of a key that is not UTF-8
	Group     string          `json:"group"`
	From      string          `json:"from,omitempty"`
	Node      string          `json:"node,omitempty"`
	PeerFrom  string          `json:"peer_from,omitempty"`
	TTL       string          `json:"ttl,omitempty"`     // absent: no limit
	Version   string          `json:"version,omitempty"` // decimal; a number would not survive JavaScript
	Bytes     int             `json:"bytes"`             // of the value
	Took      string          `json:"took"`
	Owners    []string        `json:"owners"` // IDs: the owner, then its stand-ins in order
	Steps     []geecache.Step `json:"steps"`
	Code      string          `json:"code"`
	Error     string          `json:"error,omitempty"`
}

// serveExplain looks a key up and tells how it went, with the status that /api
// would have.
func (a *API) serveExplain(w http.ResponseWriter, r *http.Request) {
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
	start := time.Now()
	res, err := g.Lookup(ctx, key)
	e := explanation{
		Key: key, Group: g.Name(), Took: time.Since(start).String(), Bytes: res.Value.Len(),
		Owners: []string{}, Steps: res.Steps, Code: geecache.CodeOf(err).String(),
	}
	if !utf8.ValidString(key) {
		e.KeyBase64 = []byte(key)
	}
	if res.From != geecache.FromNone {
		e.From, e.Node, e.Version = res.From.String(), res.Node, strconv.FormatUint(res.Version, 10)
		if res.From == geecache.FromPeer {
			e.PeerFrom = res.PeerFrom.String()
		}
		if res.TTL > 0 {
			e.TTL = res.TTL.String()
		}
	}
	for _, p := range a.node.Owners(key, maxOwners) {
		e.Owners = append(e.Owners, p.ID)
	}
	status := http.StatusOK
	if err != nil {
		o := outcomeOf(key, err)
		status, e.Error = o.status, o.msg
		a.requests.failed(w, r, o.status, o.code, o.msg)
		w.Header().Set(headerError, o.code.String())
	}
	writeJSON(w, status, e)
}

// writeJSON answers with v as JSON.
func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the client's loss
}
