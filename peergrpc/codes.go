package peergrpc

import (
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

// The metadata of requests and answers. Values of the first three are
// percent-encoded, because metadata holds printable ASCII only.
const (
	// MetadataCluster, MetadataNode and MetadataVersion say which node of
	// which cluster asks. A request that carries either of the first two is one
	// from a peer; one that carries neither is a stranger's.
	MetadataCluster = "geecache-cluster"
	MetadataNode    = "geecache-node"
	MetadataVersion = "geecache-version"

	// MetadataCode is the trailer of a failed Get that holds the name of its
	// [geecache.Code], which tells apart what one gRPC status covers.
	MetadataCode = "geecache-code"
)

// statusTable is the gRPC column of the table of codes in package geecache.
//
// Unavailable is what gRPC clients may try again, so overload is told as such;
// ResourceExhausted is gRPC's own word for a message that is too large.
var statusTable = [...]codes.Code{
	geecache.CodeOK:          codes.OK,
	geecache.CodeNotFound:    codes.NotFound,
	geecache.CodeNoGroup:     codes.NotFound,
	geecache.CodeOverloaded:  codes.Unavailable,
	geecache.CodeTooLarge:    codes.ResourceExhausted,
	geecache.CodeLoadTimeout: codes.DeadlineExceeded,
	geecache.CodeSource:      codes.Unknown,
	geecache.CodeUnavailable: codes.Unavailable,
	geecache.CodeDraining:    codes.Unavailable,
	geecache.CodeBadRequest:  codes.InvalidArgument,
	geecache.CodeRefused:     codes.PermissionDenied,
	geecache.CodeDeadline:    codes.DeadlineExceeded,
	geecache.CodeCanceled:    codes.Canceled,
	geecache.CodeInternal:    codes.Internal,
	geecache.CodeMiss:        codes.NotFound,
}

// StatusCode returns the gRPC status code that tells of c.
func StatusCode(c geecache.Code) codes.Code {
	if int(c) < len(statusTable) {
		return statusTable[c]
	}
	return codes.Internal
}

// toStatus turns a reply that is a failure into a status error. The whole reply
// is the status's detail, so that nothing of it is lost between nodes.
func toStatus(reply geecache.PeerReply) error {
	msg := reply.Message
	if msg == "" {
		msg = reply.Code.String()
	}
	st := status.New(StatusCode(reply.Code), shorten(msg, maxMessage))
	if detailed, err := st.WithDetails(toResponse(reply)); err == nil {
		st = detailed
	}
	return st.Err()
}

// codeTrailer returns the trailer that tells of c.
func codeTrailer(c geecache.Code) metadata.MD { return metadata.Pairs(MetadataCode, c.String()) }

// fromStatus is the reverse of toStatus and codeTrailer. It reports false if
// the status is not a GeeCache node's answer: it comes from gRPC itself, from
// something between the two nodes, or from another implementation.
func fromStatus(st *status.Status, trailer metadata.MD) (geecache.PeerReply, bool) {
	names := trailer.Get(MetadataCode)
	if len(names) == 0 {
		return geecache.PeerReply{}, false
	}
	for _, detail := range st.Details() {
		if resp, ok := detail.(*geecachepb.Response); ok && resp.Code != geecachepb.Code_CODE_OK {
			return fromResponse(resp), true
		}
	}
	code := geecache.ParseCode(names[0])
	if code == geecache.CodeOK { // a failure that says that it is none
		code = geecache.CodeInternal
	}
	return geecache.PeerReply{Code: code, Message: st.Message()}, true
}

// toResponse puts a reply into a message. They share the value's bytes.
func toResponse(r geecache.PeerReply) *geecachepb.Response {
	resp := &geecachepb.Response{
		Code:         geecachepb.Code(r.Code),
		Message:      shorten(r.Message, maxMessage),
		TtlNs:        int64(r.TTL),
		Version:      r.Version,
		Origin:       geecachepb.Origin(r.From),
		TookNs:       int64(r.Took),
		Epoch:        r.Epoch,
		RetryAfterNs: int64(r.RetryAfter),
	}
	if r.Code == geecache.CodeOK {
		resp.Value = r.Value
	}
	return resp
}

// fromResponse takes a reply out of a message. They share the value's bytes.
func fromResponse(resp *geecachepb.Response) geecache.PeerReply {
	r := geecache.PeerReply{
		Code:       codeOf(resp.Code),
		Message:    resp.Message,
		TTL:        time.Duration(resp.TtlNs),
		Version:    resp.Version,
		Took:       max(time.Duration(resp.TookNs), 0),
		Epoch:      resp.Epoch,
		RetryAfter: max(time.Duration(resp.RetryAfterNs), 0),
	}
	if o := resp.Origin; o > 0 && o <= geecachepb.Origin_ORIGIN_LOAD {
		r.From = geecache.Origin(o)
	}
	if r.Code == geecache.CodeOK {
		r.Value = resp.Value
	}
	return r
}

// Statuses travel in headers, and a batch's answers share one message, so the
// words of an error are bounded, in bytes.
const (
	maxMessage      = 1024
	maxBatchMessage = 128
)

// shorten makes msg valid UTF-8, which protobuf and other languages' clients
// insist on, of at most about limit bytes.
func shorten(msg string, limit int) string {
	const dots = "..."
	if len(msg) > limit {
		msg = msg[:limit-len(dots)] + dots
	}
	return strings.ToValidUTF8(msg, "?")
}

// codeOf returns the code of a message, CodeInternal for one that this version
// does not know.
func codeOf(c geecachepb.Code) geecache.Code {
	if c < 0 || int(c) >= len(statusTable) {
		return geecache.CodeInternal
	}
	return geecache.Code(c)
}
