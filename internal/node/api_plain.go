package node

import "github.com/geecache/geecache/internal/plain"

// answerPlain answers a GET of /api before net/http sees it, if it is a plain one
// and memory has the value. The answer is that of serveKey.
func (a *API) answerPlain(request, buf []byte) ([]byte, bool) {
	r, ok := plain.Parse(request)
	if !ok || r.Path != "/api" || !a.node.Ready() || a.inFlight.Load() >= int64(a.cfg.MaxInFlight) {
		return nil, false
	}
	q, err := plain.ParseQuery(r.Query)
	if err != nil || !q.HasKey {
		return nil, false
	}
	g, err := a.group(q.Group)
	if err != nil {
		return nil, false
	}
	res, err := g.Lookup(plain.OnlyMemory, q.Key)
	if err != nil {
		return nil, false
	}
	d := a.digests.of(g, q.Key, &res)
	b := a.dates.Begin(buf)
	b = plain.Field(b, "Content-Type", octetStream[0])
	b = plain.Field(b, "Etag", d.tag[0])
	b = plain.Field(b, headerFrom, fromHeaders[res.From][0])
	b = plain.Field(b, headerNode, a.self[0])
	if res.TTL > 0 {
		b = plain.Field(b, headerTTL, res.TTL.String())
	}
	b = plain.Field(b, "X-Content-Type-Options", nosniff[0])
	b = plain.Length(b, res.Value.Len())
	return res.Value.Append(b), true
}
