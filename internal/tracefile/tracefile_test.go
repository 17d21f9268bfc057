package tracefile_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/tracefile"
)

func TestOpen(t *testing.T) {
	const word = "\x00\x00\x00\x00\x00\x00\x01\x00"
	tests := []struct {
		format   tracefile.Format
		content  string
		keys     []string
		requests []uint32
		fault    string
	}{
		{tracefile.ARC, "7 1 0 0\n7 3 0 1\n\n9 0\n", []string{"7", "8", "9"}, []uint32{0, 0, 1, 2}, ""},
		{tracefile.ARC, "18446744073709551615 1", []string{"18446744073709551615"}, []uint32{0}, ""},
		{tracefile.ARC, "18446744073709551615 2", nil, nil, "line 1: there are no 2 blocks"},
		{tracefile.ARC, "1 1\n100\n", nil, nil, "line 2: want a start and a count"},
		{tracefile.ARC, "100 x\n", nil, nil, "invalid syntax"},
		{tracefile.ARC, "0 4294967295\n", nil, nil, "more than 268435456 requests"},
		{tracefile.Blocks, "5\n 6 \n05\n*\n\n*\n", []string{"5", "6", "*"}, []uint32{0, 1, 0, 2, 2}, ""},
		{tracefile.Words, word + word, []string{"256"}, []uint32{0, 0}, ""},
		{tracefile.Words, word + "\x00", nil, nil, "no multiple of 8 bytes"},
		{tracefile.Keys, "b c\n\na\tb\nb c\n 05", []string{"b c", "", "a\tb", " 05"}, []uint32{0, 1, 2, 0, 3}, ""},
		{tracefile.Keys, "", nil, nil, "no requests"},
		{"other", "1\n", nil, nil, `trace format "other": use one of [arc blocks uint64be keys]`},
	}
	for _, tt := range tests {
		for _, compressed := range []bool{false, true} {
			content := []byte(tt.content)
			if compressed {
				content = zipped(t, content)
			}
			path := filepath.Join(t.TempDir(), "trace")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := tracefile.Open(path, tt.format)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) || !strings.HasPrefix(err.Error(), path) {
					t.Errorf("%s %q: %v, want an error with %q", tt.format, tt.content, err, tt.fault)
				}
				continue
			}
			if err != nil || !slices.Equal(got.Keys, tt.keys) || !slices.Equal(got.Requests, tt.requests) {
				t.Errorf("%s %q: %+v, %v; want %q, %v", tt.format, tt.content, got, err, tt.keys, tt.requests)
			}
		}
	}
	if _, err := tracefile.Open(filepath.Join(t.TempDir(), "none"), tracefile.Keys); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func zipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
