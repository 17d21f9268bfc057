package geecache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// What Get, GetMany and a peer's answer can fail with. Test with errors.Is: the
// errors that are returned carry more, and they keep their meaning on the way
// from one node to another.
var (
	// ErrNotFound: the source has no value for the key. It is an answer, not a
	// failure; a Getter returns it (or an error that wraps it).
	ErrNotFound = errors.New("not found")

	// ErrNoGroup: the node that was asked has no group of that name.
	ErrNoGroup = errors.New("no such group")

	// ErrOverloaded: the node refuses to start another load. Try again later.
	ErrOverloaded = errors.New("overloaded")

	// ErrTooLarge: a key or a value is larger than the configured limit.
	ErrTooLarge = errors.New("too large")

	// ErrLoadTimeout: the source did not answer within the load timeout.
	ErrLoadTimeout = errors.New("load timed out")

	// ErrSource: the source failed: it returned an error, panicked or called
	// runtime.Goexit.
	ErrSource = errors.New("source failed")

	// ErrUnavailable: no node that may answer for the key can be reached, and
	// this node may not load it (it is a client).
	ErrUnavailable = errors.New("no node available")

	// ErrDraining: the node is leaving and takes no new requests.
	ErrDraining = errors.New("node is draining")

	// ErrBadRequest: a peer's or a client's request makes no sense.
	ErrBadRequest = errors.New("bad request")

	// ErrRefused: the other side is not a node of this cluster: its cluster ID,
	// its identity or its version differs.
	ErrRefused = errors.New("handshake refused")

	// ErrPeerTrouble: a peer could not be asked: it refused the connection or
	// the handshake, is draining, or showed no sign of life.
	ErrPeerTrouble = errors.New("peer in trouble")

	// ErrClosed: the node has been closed.
	ErrClosed = errors.New("node is closed")
)

// A Code is an error's kind as it travels between nodes. The numbers are part
// of the wire format.
type Code uint8

// The codes. [CodeOf] tells an error's, [Code.Err] is the way back.
const (
	CodeOK          Code = 0
	CodeNotFound    Code = 1
	CodeNoGroup     Code = 2
	CodeOverloaded  Code = 3
	CodeTooLarge    Code = 4
	CodeLoadTimeout Code = 5
	CodeSource      Code = 6
	CodeUnavailable Code = 7
	CodeDraining    Code = 8
	CodeBadRequest  Code = 9
	CodeRefused     Code = 10
	CodeDeadline    Code = 11 // the caller's own deadline
	CodeCanceled    Code = 12 // the caller has left
	CodeInternal    Code = 13
	// CodeMiss answers a request that only looks into memory.
	CodeMiss Code = 14
)

// codeTable is the one table that ties errors to codes, names and HTTP
// statuses; peergrpc has the column for gRPC.
var codeTable = [...]struct {
	code   Code
	err    error
	name   string
	status int
}{
	{CodeOK, nil, "ok", http.StatusOK},
	{CodeNotFound, ErrNotFound, "not-found", http.StatusNotFound},
	{CodeNoGroup, ErrNoGroup, "no-group", http.StatusNotFound},
	{CodeOverloaded, ErrOverloaded, "overloaded", http.StatusServiceUnavailable},
	{CodeTooLarge, ErrTooLarge, "too-large", http.StatusRequestEntityTooLarge},
	{CodeLoadTimeout, ErrLoadTimeout, "load-timeout", http.StatusGatewayTimeout},
	{CodeSource, ErrSource, "source", http.StatusBadGateway},
	{CodeUnavailable, ErrUnavailable, "unavailable", http.StatusServiceUnavailable},
	{CodeDraining, ErrDraining, "draining", http.StatusServiceUnavailable},
	{CodeBadRequest, ErrBadRequest, "bad-request", http.StatusBadRequest},
	{CodeRefused, ErrRefused, "refused", http.StatusForbidden},
	{CodeDeadline, context.DeadlineExceeded, "deadline", http.StatusGatewayTimeout},
	{CodeCanceled, context.Canceled, "canceled", 499},
	{CodeInternal, nil, "internal", http.StatusInternalServerError},
	{CodeMiss, errMiss, "miss", http.StatusNotFound},
}

// errMiss answers a request that only looks into memory and finds nothing.
var errMiss = errors.New("not in memory")

// CodeOf returns the code of err: CodeOK for nil, CodeInternal for an error
// that is none of this package's.
func CodeOf(err error) Code {
	if err == nil {
		return CodeOK
	}
	var source *sourceError
	if errors.As(err, &source) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrOverloaded) {
		return CodeSource // whatever else it wraps is the source's affair, not this cluster's
	}
	for i := range codeTable {
		if e := codeTable[i].err; e != nil && errors.Is(err, e) {
			return codeTable[i].code
		}
	}
	if errors.Is(err, ErrClosed) {
		return CodeDraining
	}
	return CodeInternal
}

// String returns the code's name, as it stands in headers and metrics.
func (c Code) String() string {
	if int(c) < len(codeTable) {
		return codeTable[c].name
	}
	return fmt.Sprintf("code-%d", uint8(c))
}

// ParseCode is the reverse of [Code.String]; an unknown name is CodeInternal.
func ParseCode(name string) Code {
	for i := range codeTable {
		if codeTable[i].name == name {
			return codeTable[i].code
		}
	}
	return CodeInternal
}

// HTTPStatus returns the HTTP status that tells of the code.
func (c Code) HTTPStatus() int {
	if int(c) < len(codeTable) {
		return codeTable[c].status
	}
	return http.StatusInternalServerError
}

// Err returns the sentinel error of the code, nil for CodeOK and CodeInternal.
func (c Code) Err() error {
	if int(c) < len(codeTable) {
		return codeTable[c].err
	}
	return nil
}

// A RemoteError is an error that another node answered with. It unwraps to the
// sentinel error of its code, so errors.Is works across nodes.
type RemoteError struct {
	Node       string        // the ID or address of the node that answered
	Code       Code          // what kind of error it is
	Message    string        // the node's own words
	RetryAfter time.Duration // when to try again, if the node said so
}

// Error implements error.
func (e *RemoteError) Error() string {
	msg := e.Message
	if msg == "" {
		msg = e.Code.String()
	}
	return fmt.Sprintf("node %s: %s", e.Node, msg)
}

// Unwrap returns the sentinel error of the code.
func (e *RemoteError) Unwrap() error { return e.Code.Err() }

// A KeyError is one key's share of what GetMany could not answer.
type KeyError struct {
	Key string
	Err error
}

// Error implements error.
func (e *KeyError) Error() string { return fmt.Sprintf("key %q: %v", abbreviate(e.Key), e.Err) }

// Unwrap returns the key's error.
func (e *KeyError) Unwrap() error { return e.Err }

// A PeerError is why a view cannot be used: one peer in it makes no sense. Without
// that peer the view may do.
type PeerError struct {
	ID  string // of the peer; empty if it has neither ID nor address
	Err error  // says which peer it is, too
}

// Error implements error.
func (e *PeerError) Error() string { return "geecache: " + e.Err.Error() }

// Unwrap returns what is wrong with the peer.
func (e *PeerError) Unwrap() error { return e.Err }

func peerErrorf(p Peer, format string, args ...any) error {
	return &PeerError{ID: p.ID, Err: fmt.Errorf(format, args...)}
}

// abbreviate shortens a key for an error message or a log line.
func abbreviate(key string) string {
	const most = 64
	if len(key) <= most {
		return key
	}
	return key[:most] + "..."
}
