package geecache

import (
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/geecache/geecache/internal/listen"
)

// What replies share. net/http copies headers before it sends them, and their
// capacity is their length, so that nothing can be appended in place.
var (
	protobufHeader = []string{protobufType}
	originHeaders  = [len(originNames)][]string{
		FromMain: {FromMain.String()}, FromHot: {FromHot.String()}, FromPeer: {FromPeer.String()}, FromLoad: {FromLoad.String()},
	}
)

// writeReply writes a reply as the protocol has it: the value as field 1 of a
// protobuf Response, everything else in headers.
func (n *Node) writeReply(w http.ResponseWriter, r *http.Request, reply *PeerReply) {
	h := w.Header()
	if p := n.place(); p.epoch == reply.Epoch {
		h[headerEpoch] = p.epochHeader
	} else {
		h[headerEpoch] = []string{epochText(reply.Epoch)}
	}
	if reply.From != FromNone && int(reply.From) < len(originHeaders) {
		h[headerFrom] = originHeaders[reply.From]
	}
	if reply.Took > 0 {
		h[headerTook] = []string{reply.Took.String()}
	}
	if reply.TTL != 0 {
		h[headerTTL] = []string{reply.TTL.String()}
	}
	if reply.RetryAfter > 0 {
		h["Retry-After"] = []string{strconv.Itoa(int((reply.RetryAfter + time.Second - 1) / time.Second))}
	}
	if reply.Version != 0 {
		h[headerEntry] = []string{strconv.FormatUint(reply.Version, 10)}
	}
	if reply.Code != CodeOK {
		msg := reply.Message
		if msg == "" {
			msg = reply.Code.String()
		}
		refuse(w, reply.Code.HTTPStatus(), reply.Code, msg)
		return
	}
	writeValue(w, r, reply)
}

// lengthByItself is the size of a value up to which net/http tells the body's
// length without being told, which is cheaper.
const lengthByItself = 1 << 10

// writeValue writes a Response of its field 1 alone, by hand: the value is not
// copied, however many slow clients it is sent to.
func writeValue(w http.ResponseWriter, r *http.Request, reply *PeerReply) {
	head := appendValueHead(make([]byte, 0, maxValueHead), reply.Value)
	h := w.Header()
	h["Content-Type"] = protobufHeader
	if r.Method == http.MethodHead || len(reply.Value) > lengthByItself {
		h["Content-Length"] = []string{strconv.Itoa(len(head) + len(reply.Value))}
	}
	if r.Method == http.MethodHead {
		return
	}
	if len(reply.Value) >= listen.HoldFrom {
		defer listen.Hold(r)()
	}
	if _, err := w.Write(head); err == nil {
		_, _ = w.Write(reply.Value) // an error is the client's loss
	}
}

// maxValueHead bounds what stands before a value in a Response.
const maxValueHead = 16

// appendValueHead appends what stands before a value in a Response.
func appendValueHead(b, value []byte) []byte {
	if len(value) == 0 {
		return b
	}
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(len(value)))
}

// refuse answers with an error: a status, its code's name in a header, and a
// line of text.
func refuse(w http.ResponseWriter, status int, code Code, msg string) {
	w.Header().Set(headerError, code.String())
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.Error(w, msg, status)
}
