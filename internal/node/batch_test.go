package node

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

type batchAnswer struct {
	Values, Errors, ValuesBase64, ErrorsBase64 map[string]struct {
		Value       *string `json:"value"`
		ValueBase64 *[]byte `json:"value_base64"`
		Code        string  `json:"code"`
		Message     string  `json:"message"`
	}
}

func (b *batchAnswer) UnmarshalJSON(raw []byte) error {
	return unmarshalParts(raw, map[string]any{
		"values": &b.Values, "errors": &b.Errors, "values_base64": &b.ValuesBase64, "errors_base64": &b.ErrorsBase64,
	})
}

// unmarshalParts decodes an object all of whose members are known.
func unmarshalParts(raw []byte, parts map[string]any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return err
	}
	for name, m := range members {
		if parts[name] == nil {
			return fmt.Errorf("unknown member %q", name)
		}
		if err := json.Unmarshal(m, parts[name]); err != nil {
			return err
		}
	}
	return nil
}

func askBatch(t *testing.T, a *API, body string) batchAnswer {
	t.Helper()
	resp := ask(a, "POST", "/api/batch", body)
	text := bodyOf(t, resp)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, %q: %s", resp.StatusCode, resp.Header.Get("Content-Type"), text)
	}
	var b batchAnswer
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return b
}

func TestBatch(t *testing.T) {
	a := newTestAPI(t, APIConfig{})
	b := askBatch(t, a, `{"keys": ["Tom", "", "kkk", "<b>", "broken", "Tom", "bytes"], "keys_base64": ["/w==", "SmFjaw=="]}`)
	for key, want := range map[string]string{"Tom": "630", "": "the empty key", "Jack": "589"} {
		if v := b.Values[key].Value; v == nil || *v != want {
			t.Errorf("key %q: %+v, want %q", key, b.Values[key], want)
		}
	}
	if v := b.Values["bytes"]; v.Value != nil || v.ValueBase64 == nil || string(*v.ValueBase64) != "\xff\x00" {
		t.Errorf("a value that is not UTF-8: %+v", v)
	}
	if len(b.Values) != 4 || len(b.Errors) != 3 || len(b.ErrorsBase64) != 1 || len(b.ValuesBase64) != 0 {
		t.Errorf("%d values, %d errors, %d errors in base64", len(b.Values), len(b.Errors), len(b.ErrorsBase64))
	}
	if e := b.Errors["kkk"]; e.Code != "not-found" || e.Message != "kkk not exist" {
		t.Errorf("a key that does not exist: %+v", e)
	}
	if e := b.Errors["broken"]; e.Code != "source" {
		t.Errorf("a source that fails: %+v", e)
	}
	if e := b.ErrorsBase64["/w=="]; e.Code != "not-found" {
		t.Errorf("a key that is not UTF-8: %+v", e)
	}
}

func TestBatchOfOneKind(t *testing.T) {
	a := newTestAPI(t, APIConfig{})
	if b := askBatch(t, a, `{"group": "users", "keys": ["Tom"]}`); len(b.Values) != 1 || len(b.Errors) != 0 {
		t.Errorf("only values: %+v", b)
	}
	if b := askBatch(t, a, `{"keys": ["kkk"]}`); len(b.Values) != 0 || len(b.Errors) != 1 {
		t.Errorf("only errors: %+v", b)
	}
}

func TestBatchRefusals(t *testing.T) {
	a := newTestAPI(t, APIConfig{MaxBatchKeys: 2, MaxBatchBytes: 100})
	for _, c := range []struct {
		body   string
		status int
		says   string
	}{
		{``, 400, "no batch"},
		{`{"keys": "Tom"}`, 400, "no batch"},
		{`{"key": ["Tom"]}`, 400, "unknown field"},
		{`{"keys": ["Tom"]} {}`, 400, "more than one"},
		{`{"keys": []}`, 400, "no keys"},
		{"{\"keys\": [\"\xff\"]}", 400, "keys_base64"},
		{`{"keys_base64": ["%"]}`, 400, "no batch"},
		{`{"group": "x", "keys": ["Tom"]}`, 404, "no such group"},
		{`{"keys": ["a", "b"], "keys_base64": ["AA=="]}`, 413, "2 keys"},
		{`{"keys": ["` + strings.Repeat("k", 100) + `"]}`, 413, "100 bytes"},
	} {
		resp := ask(a, "POST", "/api/batch", c.body)
		if body := bodyOf(t, resp); resp.StatusCode != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%.40s: status %d, want %d; %q should say %q", c.body, resp.StatusCode, c.status, body, c.says)
		}
	}
}
