package slowdb

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestImport(t *testing.T) {
	for _, tt := range []struct {
		name, format, in string
		rows             int64
		want             map[string]string
	}{
		{"csv with header", "csv", "key,value\na,1\nb,2\n", 2, map[string]string{"a": "1", "b": "2"}},
		{"csv without header", "csv", "a,1\nkey,value\n", 2, map[string]string{"a": "1", "key": "value"}},
		{"csv quoted", "csv", "\"a,b\",\"1\n2\"\n\"\"\"\",\"\"\n", 2, map[string]string{"a,b": "1\n2", `"`: ""}},
		{"csv with mark", "csv", "\ufeffkey,value\r\na,1\r\n", 1, map[string]string{"a": "1"}},
		{"csv of odd bytes", "csv", "\xff\x00,\x00\xfe\n,empty key\n", 2, map[string]string{"\xff\x00": "\x00\xfe", "": "empty key"}},
		{"csv twice", "csv", "a,1\nTom,2\na,3\n", 3, map[string]string{"a": "3", "Tom": "2"}},
		{"csv empty", "csv", "", 0, nil},
		{"jsonl", "jsonl", "{\"key\":\"a\",\"value\":\"1\\n\"}\n\n{\"value\": {\"x\": [1, null]}, \"key\":\"b\"}", 2,
			map[string]string{"a": "1\n", "b": `{"x": [1, null]}`}},
		{"jsonl values", "jsonl", `{"key":"","value":630}` + "\n" + `{"key":"n","value":null}` + "\n" + `{"key":"\u0000","value":""}` + "\r\n", 3,
			map[string]string{"": "630", "n": "null", "\x00": ""}},
		{"jsonl with mark", "jsonl", "\ufeff{\"key\":\"a\",\"value\":true}", 1, map[string]string{"a": "true"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, Config{})
			rows, err := s.Import(t.Context(), strings.NewReader(tt.in), tt.format, nil)
			if err != nil || rows != tt.rows {
				t.Fatalf("Import = %d, %v; want %d rows", rows, err, tt.rows)
			}
			for key, value := range tt.want {
				wantValue(t, s, key, value)
			}
			wantValue(t, s, "Sam", "567")
		})
	}
}

func TestImportOfABadLineKeepsNothing(t *testing.T) {
	var many strings.Builder // more than one batch before the bad line
	for i := range 3 * insertRows {
		fmt.Fprintf(&many, "Tom,%d\n", i)
	}
	bad := fmt.Sprintf("line %d", 3*insertRows+1)
	for _, tt := range []struct{ name, format, in, want string }{
		{"late", "csv", many.String() + "only one\n", bad},
		{"columns", "csv", "key,value\nTom,2\nTom,2,3\n", "line 3: has 3 columns"},
		{"quote", "csv", "Tom,2\n\"Tom,2\n", "line 2"},
		{"not JSON", "jsonl", "{\"key\":\"Tom\",\"value\":1}\n\nTom", "line 3"},
		{"no key", "jsonl", `{"value":1}`, `line 1: has no "key"`},
		{"no value", "jsonl", `{"key":"Tom"}`, `line 1: has no "value"`},
		{"key of another type", "jsonl", `{"key":1,"value":1}`, "line 1"},
		{"unknown field", "jsonl", `{"key":"Tom","value":1,"ttl":5}`, `"ttl"`},
		{"two objects", "jsonl", `{"key":"Tom","value":1}{"key":"Tom","value":2}`, "line 1: has more"},
		{"no UTF-8", "jsonl", "{\"key\":\"Tom\",\"value\":\"\xff\"}", "line 1: is not valid UTF-8"},
		{"format", "xml", "<Tom/>", `unknown format "xml"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, Config{})
			for range 2 { // a failed import must not be in the way of the next
				rows, err := s.Import(t.Context(), strings.NewReader(tt.in), tt.format, nil)
				if err == nil || !strings.Contains(err.Error(), tt.want) || rows != 0 {
					t.Fatalf("Import = %d, %v; want 0 and an error with %q", rows, err, tt.want)
				}
			}
			wantValue(t, s, "Tom", "630")
			if _, err := s.Import(t.Context(), strings.NewReader("Tom,1"), "csv", nil); err != nil {
				t.Fatal(err)
			}
			wantValue(t, s, "Tom", "1")
		})
	}
}

func TestImportReadError(t *testing.T) {
	for _, format := range []string{FormatCSV, FormatJSONL} {
		s := open(t, Config{})
		want := errors.New("the disk is gone")
		_, err := s.Import(t.Context(), &failingReader{strings.NewReader("\n"), want}, format, nil)
		if !errors.Is(err, want) {
			t.Errorf("%s: Import = %v, want the reader's error", format, err)
		}
	}
}

type failingReader struct {
	r   *strings.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	if f.r.Len() == 0 {
		return 0, f.err
	}
	return f.r.Read(p)
}

func TestImportProgress(t *testing.T) {
	s := open(t, Config{NoSeed: true})
	var in bytes.Buffer
	for i := range 2*progressRows + 1 {
		fmt.Fprintf(&in, "%d,x\n", i)
	}
	size := int64(in.Len())
	var rows, read []int64
	_, err := s.Import(t.Context(), &in, FormatCSV, func(n, b int64) { rows, read = append(rows, n), append(read, b) })
	if err != nil {
		t.Fatal(err)
	}
	if want := []int64{progressRows, 2 * progressRows, 2*progressRows + 1}; fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("progress told of rows %v, want %v", rows, want)
	}
	if last := read[len(read)-1]; last != size {
		t.Errorf("progress told of %d bytes at the end, want %d", last, size)
	}
}

func BenchmarkImport(b *testing.B) {
	var in bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&in, "key-%d,some value of %d\n", i, i)
	}
	for b.Loop() {
		s, err := Open(b.Context(), Config{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Import(b.Context(), bytes.NewReader(in.Bytes()), FormatCSV, nil); err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}
