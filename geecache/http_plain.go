package geecache

import (
	"strconv"
	"strings"

	"github.com/geecache/geecache/consistenthash"
	"github.com/geecache/geecache/internal/plain"
)

// answerPlain answers a GET of the peer protocol before net/http sees it, if it is
// a plain one and memory has the value. The answer is that of servePeer.
func (n *Node) answerPlain(request, buf []byte) ([]byte, bool) {
	r, ok := plain.Parse(request)
	if !ok || r.Query != "" || !n.Ready() || n.door.closed() {
		return nil, false
	}
	path, ok := strings.CutPrefix(r.Path, basePath)
	if !ok {
		return nil, false
	}
	name, key, err := splitPath(path, strings.Contains(path, "%"))
	if err != nil {
		return nil, false
	}
	g := n.Group(name)
	if g == nil {
		return nil, false
	}
	hash := consistenthash.Hash(key)
	e, from := g.peekPlain(hash, key)
	if e == nil {
		return nil, false
	}
	c := g.hitCounters()
	c.count(&c.served, hash, key)
	b := n.dates.Begin(buf)
	b = plain.Field(b, "Content-Type", protobufType)
	b = plain.Field(b, headerEpoch, n.place().epochHeader[0])
	b = plain.Field(b, headerFrom, from.String())
	if expires := e.Expires(); expires != 0 {
		b = plain.Field(b, headerTTL, left(expires, n.clock.now()).String())
	}
	if v := e.Version(); v != 0 {
		b = plain.Field(b, headerEntry, strconv.FormatUint(v, 10))
	}
	value := e.Value()
	head := appendValueHead(make([]byte, 0, maxValueHead), value)
	b = plain.Length(b, len(head)+len(value))
	return append(append(b, head...), value...), true
}
