package plain

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// MaxBody is the size of the largest body that is answered plainly. Larger ones
// cost too much for their heads to matter, and here they would be copied.
const MaxBody = 16 << 10

// OnlyMemory is a context with which a Group's Lookup answers from memory and with
// a body that may be answered plainly. Otherwise it returns ErrElsewhere, counts
// nothing, and waits for nothing.
var OnlyMemory = context.WithValue(context.Background(), onlyMemory{}, true)

type onlyMemory struct{}

// ErrElsewhere is what Lookup returns with OnlyMemory.
var ErrElsewhere = errors.New("not for a plain answer")

// A Dater formats the date once a second. The zero value is ready to use.
type Dater struct{ last atomic.Pointer[date] }

type date struct {
	second int64
	text   string
}

// Begin appends the begin of an answer 200: its first line and its date.
func (d *Dater) Begin(b []byte) []byte {
	now := time.Now()
	last := d.last.Load()
	if last == nil || last.second != now.Unix() {
		last = &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
		d.last.Store(last)
	}
	b = append(b, "HTTP/1.1 200 OK\r\nDate: "...)
	b = append(b, last.text...)
	return append(b, "\r\n"...)
}

// Field appends a field of the header. Neither may hold the end of a line.
func Field(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// Length appends the length of the body and the header's end: the body is next.
func Length(b []byte, n int) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, "\r\n\r\n"...)
}
