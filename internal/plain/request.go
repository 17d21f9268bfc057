// Package plain reads the plainest of HTTP/1.1 requests, and writes answers to
// them, without net/http. Whatever is not plain it refuses to read: then net/http
// reads it.
package plain

import "bytes"

// A Request is a GET without a body, on a connection that is kept, whose headers
// change nothing about the answer.
type Request struct {
	Path  string // as it came, its escapes with it
	Query string // the same
}

// Parse reads a request, which has to be all of b. It is narrower than the
// standard throughout: a request that is read here is one that net/http reads
// alike.
func Parse(b []byte) (r Request, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte("GET /"))
	if !ok {
		return r, false
	}
	target, b, ok := bytes.Cut(b, []byte(" HTTP/1.1\r\n"))
	if !ok {
		return r, false
	}
	path, query, asks := bytes.Cut(target, []byte("?"))
	if !all(path, inPath) || !escapes(path) || !all(query, inQuery) || asks && len(query) == 0 || !plainHeader(b) {
		return r, false
	}
	return Request{"/" + string(path), string(query)}, true
}

// Whole reports whether b is one plain request, whatever it asks for.
func Whole(b []byte) bool {
	_, ok := Parse(b)
	return ok
}

// escapes reports whether each '%' begins an escape.
func escapes(path []byte) bool {
	for {
		i := bytes.IndexByte(path, '%')
		if i < 0 {
			return true
		}
		if path = path[i+1:]; len(path) < 2 || !all(path[:2], inHex) {
			return false
		}
	}
}

// plainHeader reports whether b is a header, complete and with its last line's
// end, that changes nothing about the answer.
func plainHeader(b []byte) bool {
	hosts := 0
	for {
		line, rest, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok {
			return false
		}
		if b = rest; len(line) == 0 {
			return hosts == 1 && len(b) == 0
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !all(value, inValue) {
			return false
		}
		switch kindOf(name) {
		case host:
			hosts++
			if value = bytes.Trim(value, " \t"); len(value) == 0 || !all(value, inHost) {
				return false
			}
		case connection:
			if !bytes.EqualFold(bytes.Trim(value, " \t"), []byte("keep-alive")) {
				return false
			}
		case matters:
			return false
		}
	}
}

// A kind is what a header means to the answer.
type kind int

const (
	matters kind = iota // or is not known here
	harmless
	host
	connection
)

// kindOf knows what clients send as a rule. A header that is not listed costs its
// sender the way through net/http, and nothing else.
func kindOf(name []byte) kind {
	var lower [24]byte
	if len(name) > len(lower) {
		return matters
	}
	for i, c := range name {
		if classes[c]&inName == 0 {
			return matters
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	switch string(lower[:len(name)]) {
	case "host":
		return host
	case "connection":
		return connection
	case "accept", "accept-charset", "accept-encoding", "accept-language", "baggage", "cache-control", "content-type",
		"cookie", "dnt", "forwarded", "origin", "pragma", "priority", "referer", "sec-fetch-dest", "sec-fetch-mode",
		"sec-fetch-site", "traceparent", "tracestate", "user-agent", "via", "x-forwarded-for", "x-forwarded-host",
		"x-forwarded-proto", "x-real-ip", "x-request-id":
		return harmless
	}
	return matters
}

// A class is a set of bytes.
type class uint8

const (
	inPath  class = 1 << iota // what a path has, escapes with it
	inQuery                   // visible, and no '#'
	inValue                   // of a header
	inName
	inHost
	inHex
)

var classes = func() (t [256]class) {
	add := func(c class, bytes string) {
		for _, b := range []byte(bytes) {
			t[b] |= c
		}
	}
	const alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	add(inPath, alnum+"-_.~/$&+,:;=@!*'()%")
	add(inHex, "0123456789abcdefABCDEF")
	add(inName, alnum+"-")
	add(inHost, alnum+"-._:[]")
	add(inValue, "\t ")
	for b := byte('!'); b <= '~'; b++ {
		t[b] |= inValue
		if b != '#' {
			t[b] |= inQuery
		}
	}
	return t
}()

// all reports whether all bytes are of a class.
func all(b []byte, c class) bool {
	for _, x := range b {
		if classes[x]&c == 0 {
			return false
		}
	}
	return true
}
