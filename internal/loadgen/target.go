package loadgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/geecache/geecache/geecache"
)

const (
	peerPath = "/_geecache/"
	keyMark  = "{key}"

	// maxBody bounds what is read of an answer; no target's values are larger.
	maxBody = 256 << 20
)

// A target is asked for keys. It is safe for concurrent use. buf is the calling
// worker's own; the answer may refer to its bytes until the next call.
type target interface {
	name() string
	get(ctx context.Context, key string, buf *bytes.Buffer) (Answer, error)
}

// funcTarget is Config.Do as a target. Do checks its answers itself.
type funcTarget func(ctx context.Context, key string) error

func (funcTarget) name() string { return "func" }

func (f funcTarget) get(ctx context.Context, key string, _ *bytes.Buffer) (Answer, error) {
	return Answer{}, f(ctx, key)
}

// A template is a URL with a place for the key.
type template struct {
	parts   []string // of the path and query, between the places
	inQuery []bool   // whether the place after that part is in the query
	peer    bool     // answers are the peer protocol's
	base    *url.URL
}

func parseTemplate(raw, group string) (*template, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", raw, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%q: write it as http://host:port or https://host:port", raw)
	}
	if u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("%q: leave out the fragment and the user", raw)
	}
	if strings.ContainsFunc(raw, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return nil, fmt.Errorf("%q: escape spaces and other special characters as %%XX", raw)
	}
	_, uri, _ := strings.Cut(raw, "://")
	if start := strings.IndexAny(uri, "/?"); start >= 0 {
		uri = uri[start:]
	} else {
		uri = ""
	}
	if !strings.HasPrefix(uri, "/") {
		uri = "/" + uri
	}
	switch trimmed := strings.TrimSuffix(u.Path, "/"); {
	case strings.Contains(uri, keyMark):
	case trimmed == "" && u.RawQuery == "":
		uri = "/api?key=" + keyMark
		if group != "" {
			uri += "&group={group}"
		}
	case trimmed+"/" == peerPath && u.RawQuery == "":
		uri = peerPath + "{group}/" + keyMark
	default:
		return nil, fmt.Errorf("%q: write %s where the key goes", raw, keyMark)
	}
	if strings.Contains(uri, "{group}") && group == "" {
		return nil, fmt.Errorf("%q: name the group for {group}", raw)
	}
	path, query, hasQuery := strings.Cut(uri, "?")
	path = strings.ReplaceAll(path, "{group}", escapePath(group))
	query = strings.ReplaceAll(query, "{group}", url.QueryEscape(group))
	t := &template{base: u, peer: strings.HasPrefix(uri, peerPath)}
	parts := strings.Split(path, keyMark)
	for range len(parts) - 1 {
		t.inQuery = append(t.inQuery, false)
	}
	if hasQuery {
		q := strings.Split("?"+query, keyMark)
		for range len(q) - 1 {
			t.inQuery = append(t.inQuery, true)
		}
		parts[len(parts)-1] += q[0]
		parts = append(parts, q[1:]...)
	}
	t.parts = parts
	return t, nil
}

// uri returns the path and query for a key.
func (t *template) uri(key string) string {
	var b strings.Builder
	b.WriteString(t.parts[0])
	for i, inQuery := range t.inQuery {
		if inQuery {
			b.WriteString(url.QueryEscape(key))
		} else {
			b.WriteString(escapePath(key))
		}
		b.WriteString(t.parts[i+1])
	}
	return b.String()
}

// escapePath escapes a key as one segment of a path. The segments "." and ".."
// are escaped although they need not be: on the way they would be taken for a
// step within the path.
func escapePath(key string) string {
	switch key {
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	return url.PathEscape(key)
}

// httpTarget is a URL as a target.
type httpTarget struct {
	url    string // as it was given
	tmpl   *template
	dialer *dialer
	tail   string                                    // of a request: all that follows the version
	tokens func(ctx context.Context) (string, error) // nil: none is shown
}

func newHTTPTarget(raw string, c *Config) (*httpTarget, error) {
	tmpl, err := parseTemplate(raw, c.Group)
	if err != nil {
		return nil, err
	}
	header := c.HTTP.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	host := tmpl.base.Host
	if h := header.Get("Host"); h != "" {
		host = h
	}
	if strings.ContainsAny(host, " \t\r\n") {
		return nil, fmt.Errorf("header Host: %q: leave out the spaces", host)
	}
	header.Del("Host")
	if c.HTTP.APIToken != "" && !tmpl.peer {
		header.Set("Authorization", "Bearer "+c.HTTP.APIToken)
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "geecache-load")
	}
	var tail strings.Builder
	tail.WriteString("Host: " + host + "\r\n")
	if err := header.Write(&tail); err != nil {
		return nil, err
	}
	tail.WriteString("\r\n")
	t := &httpTarget{
		url:    raw,
		tmpl:   tmpl,
		dialer: newDialer(tmpl.base, &c.HTTP),
		tail:   tail.String(),
	}
	if c.HTTP.Secrets != nil && tmpl.peer {
		credentials := &geecache.Credentials{Secrets: c.HTTP.Secrets}
		via := &http.Transport{TLSClientConfig: t.dialer.tls.Clone(), DisableKeepAlives: true}
		host := tmpl.base.Scheme + "://" + tmpl.base.Host
		t.tokens = func(ctx context.Context) (string, error) { return credentials.Token(ctx, via, host, "") }
	}
	return t, nil
}

func (t *httpTarget) name() string { return t.url }

func (t *httpTarget) close() { t.dialer.close() }

func (t *httpTarget) get(ctx context.Context, key string, buf *bytes.Buffer) (Answer, error) {
	token := ""
	if t.tokens != nil {
		text, err := t.tokens(ctx)
		if err != nil {
			return Answer{}, connectionError(err)
		}
		token = "Authorization: Bearer " + text + "\r\n"
	}
	request := []byte("GET " + t.tmpl.uri(key) + " HTTP/1.1\r\n" + token + t.tail)
	deadline, _ := ctx.Deadline()
	resp, err := t.dialer.roundTrip(ctx, deadline, request, buf)
	if err != nil {
		return Answer{}, connectionError(err)
	}
	a := Answer{Status: resp.StatusCode, Value: buf.Bytes(), Error: resp.Header.Get(errorHeader)}
	if t.tmpl.peer && a.Status == http.StatusOK {
		if a.Value, err = decodePeerBody(a.Value); err != nil {
			return a, err
		}
	}
	return a, nil
}

// errConnection is any failure to get an answer over the network.
var errConnection = errors.New("connection")

func connectionError(err error) error {
	var nerr net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &nerr) && nerr.Timeout():
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return fmt.Errorf("%w: %w", errConnection, err)
}

// decodePeerBody returns field 1 of the peer protocol's message: the value. Of
// a field that comes twice the last one counts; other fields are skipped.
func decodePeerBody(b []byte) ([]byte, error) {
	value := []byte{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, fmt.Errorf("%w: not a protobuf message: %w", ErrWrongValue, protowire.ParseError(n))
		}
		b = b[n:]
		if num == 1 && typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return nil, fmt.Errorf("%w: not a protobuf message: %w", ErrWrongValue, protowire.ParseError(n))
			}
			value, b = v, b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return nil, fmt.Errorf("%w: not a protobuf message: %w", ErrWrongValue, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return value, nil
}
