package node

import (
	"hash/maphash"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/listen"
)

// What answers share. net/http copies headers before it sends them, and their
// capacity is their length, so that nothing can be appended in place.
var (
	nosniff     = []string{"nosniff"}
	octetStream = []string{"application/octet-stream"}
	fromHeaders = [...][]string{
		geecache.FromMain: {geecache.FromMain.String()}, geecache.FromHot: {geecache.FromHot.String()},
		geecache.FromPeer: {geecache.FromPeer.String()}, geecache.FromLoad: {geecache.FromLoad.String()},
	}
)

// setOrigin tells where an answer came from.
func (a *API) setOrigin(h http.Header, res *geecache.Result) {
	if res.From == geecache.FromNone {
		return
	}
	h[headerFrom] = fromHeaders[res.From]
	if res.Node == a.node.ID() {
		h[headerNode] = a.self
	} else {
		h[headerNode] = []string{url.PathEscape(res.Node)}
	}
	if res.From == geecache.FromPeer {
		h[headerPeerFrom] = []string{res.PeerFrom.String()}
	}
	if res.TTL > 0 {
		h[headerTTL] = []string{res.TTL.String()}
	}
}

// writeValue writes a value, or 304 if the client has it already.
func (a *API) writeValue(w http.ResponseWriter, r *http.Request, g *geecache.Group, key string, res *geecache.Result) {
	h := w.Header()
	d := a.digests.of(g, key, res)
	h["Etag"] = d.tag[:]
	h["X-Content-Type-Options"] = nosniff
	if match := r.Header["If-None-Match"]; len(match) > 0 && matches(match[0], d.tag[0]) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h["Content-Type"] = octetStream
	if r.Method == http.MethodHead {
		h["Content-Length"] = d.length[:]
		return
	}
	if res.Value.Len() > lengthByItself {
		h["Content-Length"] = d.length[:]
	}
	if res.Value.Len() >= listen.HoldFrom {
		defer listen.Hold(r)()
	}
	_, _ = res.Value.WriteTo(w) // the client's loss
}

// lengthByItself is the size of a body up to which net/http tells its length
// without being told, which is cheaper.
const lengthByItself = 1 << 10

// A digest is what headers tell of a value.
type digest struct {
	group   *geecache.Group
	key     string
	version uint64

	tag, length [1]string
}

// is reports whether the digest is that of a version of a key's value.
func (d *digest) is(g *geecache.Group, key string, version uint64) bool {
	return d != nil && d.version == version && d.key == key && d.group == g
}

// digests remembers the digests of values that were answered lately, so that a
// hot value is not hashed for each answer. A version names one load of a key, and
// so its bytes, on whatever node it was made.
type digests struct {
	seed  maphash.Seed
	slots [digestSlots]atomic.Pointer[digest]
}

const (
	digestSlots = 4096
	// maxDigestKey bounds what the slots hold on to, to a few MiB.
	maxDigestKey = 256
)

// of returns the digest of an answer's value.
func (ds *digests) of(g *geecache.Group, key string, res *geecache.Result) *digest {
	if res.Version == 0 || len(key) > maxDigestKey { // 0: of a node that knows no versions
		return newDigest(g, key, res)
	}
	slot := &ds.slots[maphash.String(ds.seed, key)%digestSlots]
	d := slot.Load()
	if !d.is(g, key, res.Version) {
		d = newDigest(g, strings.Clone(key), res)
		slot.Store(d)
	}
	return d
}

func newDigest(g *geecache.Group, key string, res *geecache.Result) *digest {
	d := &digest{group: g, key: key, version: res.Version}
	d.tag[0] = entityTag(res.Value)
	d.length[0] = strconv.Itoa(res.Value.Len())
	return d
}

// entityTag returns a strong tag: the same for the same bytes on every node.
func entityTag(v geecache.ByteView) string {
	var d xxhash.Digest
	d.Reset()
	_, _ = v.WriteTo(&d) // cannot fail
	b := make([]byte, 0, 40)
	b = append(b, '"')
	b = strconv.AppendUint(b, d.Sum64(), 16)
	b = append(b, '-')
	b = strconv.AppendInt(b, int64(v.Len()), 16)
	return string(append(b, '"'))
}

// matches reports whether an If-None-Match header names the tag.
func matches(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimSpace(part)
		if part == "*" || strings.TrimPrefix(part, "W/") == tag {
			return true
		}
	}
	return false
}
