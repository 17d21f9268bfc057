package node

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/geecache/geecache/geecache"
)

// A batchRequest is the body of POST /api/batch.
type batchRequest struct {
	Group string   `json:"group"`
	Keys  []string `json:"keys"`
	// KeysBase64 are keys that JSON cannot hold, in base64.
	KeysBase64 [][]byte `json:"keys_base64"`
}

// A batchValue is one key's value.
type batchValue struct {
	Value       *string `json:"value,omitempty"`
	ValueBase64 *[]byte `json:"value_base64,omitempty"` // of a value that is not UTF-8
}

// A batchError is why a key has no value.
type batchError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// serveBatch answers for many keys. Those that cannot be answered are told
// among the errors; the others are answered all the same.
//
//	{"values": {"Tom": {"value": "630"}}, "errors": {"kkk": {"code": "not-found", ...}}}
//
// Keys that are not UTF-8 are in values_base64 and errors_base64.
func (a *API) serveBatch(w http.ResponseWriter, r *http.Request) {
	if err := a.guard.admit(); err != nil {
		a.fail(w, r, "", err)
		return
	}
	req, keys, err := a.readBatch(w, r)
	if err != nil {
		a.fail(w, r, "", err)
		return
	}
	g, err := a.group(req.Group)
	if err != nil {
		a.fail(w, r, "", err)
		return
	}
	ctx, err := a.within(r)
	if err != nil {
		a.fail(w, r, "", err)
		return
	}
	defer ctx.end()
	values, err := g.GetMany(ctx, keys...)
	a.late(w, r, ctx, "batch")
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = writeBatch(w, keys, values, keyErrors(err)) // the client's loss
}

// readBatch reads a batch and returns its keys, each once.
func (a *API) readBatch(w http.ResponseWriter, r *http.Request) (batchRequest, []string, error) {
	var req batchRequest
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(a.cfg.MaxBatchBytes)))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return req, nil, &badRequest{http.StatusRequestEntityTooLarge, geecache.CodeTooLarge,
			tooLargeText("the body", "bytes", a.cfg.MaxBatchBytes)}
	case err != nil:
		return req, nil, bad("the body cannot be read: %v", err)
	case !utf8.Valid(body):
		return req, nil, bad("the body is not UTF-8: give keys that are not in keys_base64")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return req, nil, bad(`the body is no batch: %v: use {"group": "scores", "keys": ["Tom", "Jack"]}`, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return req, nil, bad("the body holds more than one JSON value")
	}
	if n := len(req.Keys) + len(req.KeysBase64); n > a.cfg.MaxBatchKeys {
		return req, nil, &badRequest{http.StatusRequestEntityTooLarge, geecache.CodeTooLarge,
			tooLargeText("the batch", "keys", a.cfg.MaxBatchKeys)}
	} else if n == 0 {
		return req, nil, bad(`the batch has no keys: use {"group": "scores", "keys": ["Tom", "Jack"]}`)
	}
	keys := make([]string, 0, len(req.Keys)+len(req.KeysBase64))
	seen := make(map[string]struct{}, cap(keys))
	add := func(key string) {
		if _, again := seen[key]; !again {
			seen[key] = struct{}{}
			keys = append(keys, key)
		}
	}
	for _, key := range req.Keys {
		add(key)
	}
	for _, key := range req.KeysBase64 {
		add(string(key))
	}
	return req, keys, nil
}

// keyErrors takes apart what GetMany returned.
func keyErrors(err error) map[string]error {
	errs := make(map[string]error)
	var gather func(error)
	gather = func(err error) {
		switch e := err.(type) { //nolint:errorlint // the structure is GetMany's
		case *geecache.KeyError:
			errs[e.Key] = e.Err
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				gather(one)
			}
		}
	}
	gather(err)
	return errs
}

// writeBatch writes one entry after the other: values are large, and a batch of
// them must not be in memory a second time.
func writeBatch(w io.Writer, keys []string, values map[string]geecache.ByteView, errs map[string]error) error {
	b := &batchWriter{w: bufio.NewWriterSize(w, 32<<10)}
	b.open('{')
	b.object("values", keys, func(key string) (any, bool) {
		v, ok := values[key]
		return valueOf(v), ok
	})
	b.object("errors", keys, func(key string) (any, bool) {
		if _, ok := values[key]; ok {
			return nil, false
		}
		err := errs[key]
		if err == nil {
			err = geecache.ErrUnavailable
		}
		o := outcomeOf(key, err)
		return batchError{o.code.String(), o.msg}, true
	})
	b.text("}\n")
	if b.err != nil {
		return b.err
	}
	return b.w.Flush()
}

func valueOf(v geecache.ByteView) batchValue {
	s := v.String()
	if utf8.ValidString(s) {
		return batchValue{Value: &s}
	}
	raw := []byte(s)
	return batchValue{ValueBase64: &raw}
}

// A batchWriter writes JSON objects piece by piece and keeps the first error.
type batchWriter struct {
	w     *bufio.Writer
	piece bytes.Buffer
	err   error
	first bool // the object at hand has no member yet
}

func (b *batchWriter) open(brace byte) {
	b.text(string(brace))
	b.first = true
}

func (b *batchWriter) text(s string) {
	if b.err == nil {
		_, b.err = b.w.WriteString(s)
	}
}

// value writes v as JSON.
func (b *batchWriter) value(v any) {
	if b.err != nil {
		return
	}
	b.piece.Reset()
	enc := json.NewEncoder(&b.piece)
	enc.SetEscapeHTML(false)
	if b.err = enc.Encode(v); b.err == nil {
		_, b.err = b.w.Write(bytes.TrimSuffix(b.piece.Bytes(), []byte("\n")))
	}
	const keep = 1 << 20
	if b.piece.Cap() > keep {
		b.piece = bytes.Buffer{}
	}
}

func (b *batchWriter) member(name string) {
	if !b.first {
		b.text(",")
	}
	b.first = false
	b.value(name)
	b.text(":")
}

// object writes the member name with an entry for each key that of knows, and,
// if there are any, a second one for keys that are not UTF-8.
func (b *batchWriter) object(name string, keys []string, of func(key string) (any, bool)) {
	var raw []string
	b.member(name)
	b.open('{')
	for _, key := range keys {
		if !utf8.ValidString(key) {
			raw = append(raw, key)
		} else if v, ok := of(key); ok {
			b.member(key)
			b.value(v)
		}
	}
	b.text("}")
	b.first = false
	opened := false
	for _, key := range raw {
		v, ok := of(key)
		if !ok {
			continue
		}
		if !opened {
			b.member(name + "_base64")
			b.open('{')
			opened = true
		}
		b.member(base64.StdEncoding.EncodeToString([]byte(key)))
		b.value(v)
	}
	if opened {
		b.text("}")
		b.first = false
	}
}
