package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
)

type grouped struct {
	group string
	geecache.Entry
}

func same(a, b []grouped) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }

var testHeader = Header{Cluster: "c", Node: "10.0.0.1:8001", Written: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)}

// odd are entries of every kind that there is.
func odd() []grouped {
	return []grouped{
		{"scores", geecache.Entry{Key: "", Value: []byte{}, Version: 1}},
		{"scores", geecache.Entry{Key: "Tom", Value: []byte("630"), Version: 1<<64 - 1, TTL: time.Minute}},
		{"scores", geecache.Entry{Key: "\x00\xff/..", Value: []byte{}, NotFound: true, TTL: 1}},
		{"other", geecache.Entry{Key: strings.Repeat("k", 16<<10), Value: bytes.Repeat([]byte("v"), mostEntry-16<<10), TTL: maxTTL}},
		{"scores", geecache.Entry{Key: "again", Value: []byte("a group again")}},
	}
}

// part writes entries.
func part(t testing.TB, h Header, entries []grouped) []byte {
	t.Helper()
	encoder, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWriter(encoder, h)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		w.add(entries[i].group, &entries[i].Entry)
	}
	data, err := w.finish()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// read reads a part to its end. The error is nil if it is whole.
func read(from io.Reader) (h Header, entries []grouped, err error) {
	r, err := NewReader(from)
	if err != nil {
		return Header{}, nil, err
	}
	for {
		err := r.Next(func(group string, e *geecache.Entry) bool {
			kept := *e
			kept.Value = bytes.Clone(e.Value)
			entries = append(entries, grouped{group, kept})
			return true
		})
		if errors.Is(err, io.EOF) {
			return r.Header(), entries, nil
		}
		if err != nil {
			return r.Header(), entries, err
		}
	}
}

func TestPartIsReadAsItWasWritten(t *testing.T) {
	for _, want := range [][]grouped{nil, odd(), many(5000)} {
		h, got, err := read(bytes.NewReader(part(t, testHeader, want)))
		if err != nil || h != testHeader {
			t.Fatalf("header %+v: %v", h, err)
		}
		if !same(got, want) {
			t.Errorf("%d entries are not the %d that were written", len(got), len(want))
		}
	}
}

// many returns entries that fill several blocks and that nothing compresses.
func many(n int) []grouped {
	r := rand.NewChaCha8([32]byte{1})
	var all []grouped
	for i := range n {
		value := make([]byte, 200)
		_, _ = r.Read(value)
		all = append(all, grouped{"scores", geecache.Entry{Key: fmt.Sprint("key", i), Value: value, Version: uint64(i)}})
	}
	return all
}

func TestEntriesThatAreTooLargeAreLeftOut(t *testing.T) {
	data := part(t, testHeader, []grouped{
		{"g", geecache.Entry{Key: "k", Value: make([]byte, mostEntry)}},
		{"g", geecache.Entry{Key: "k2", Value: make([]byte, mostEntry-2)}},
	})
	_, got, err := read(bytes.NewReader(data))
	if err != nil || len(got) != 1 || got[0].Key != "k2" {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// Of a part that is cut off anywhere, the entries of whole blocks are read, and that it
// is torn is told.
func TestTornPart(t *testing.T) {
	want := many(5000)
	data := part(t, testHeader, want)
	for _, at := range []int{0, 1, 8, 9, 10, 20, 100, len(data) / 3, len(data) / 2, len(data) - 60, len(data) - 1} {
		_, got, err := read(bytes.NewReader(data[:at]))
		if !errors.Is(err, ErrTorn) {
			t.Errorf("cut off at %d of %d bytes: %v", at, len(data), err)
		}
		if !same(got, want[:len(got)]) || at == len(data)/2 && len(got) < 1000 || at == len(data)-1 && len(got) != len(want) {
			t.Errorf("cut off at %d of %d bytes: %d entries are read", at, len(data), len(got))
		}
	}
}

// Not one byte can change without being noticed.
func TestChangedPart(t *testing.T) {
	want := odd()[:3]
	data := part(t, testHeader, want)
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 1 << (i % 8)
		_, got, err := read(bytes.NewReader(changed))
		var format *FormatError
		if !errors.Is(err, ErrTorn) && !errors.As(err, &format) {
			t.Errorf("byte %d of %d: %v", i, len(data), err)
		}
		if !same(got, want[:len(got)]) {
			t.Errorf("byte %d of %d: %+v", i, len(data), got)
		}
	}
}

func TestOtherFormatIsRefused(t *testing.T) {
	data := part(t, testHeader, nil)
	binary.LittleEndian.PutUint16(data[len(magic):], 7)
	_, _, err := read(bytes.NewReader(data))
	var format *FormatError
	if !errors.As(err, &format) || err.Error() != "the snapshot has format 7, and this program reads format 1" {
		t.Errorf("%v", err)
	}
}

// A part with checksums that are right may still be made up: it costs no more memory
// than a true one.
func TestMadeUpPart(t *testing.T) {
	encoder, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	for name, add := range map[string]func(w *writer){
		"a large block":               func(w *writer) { w.block(kindEntries, make([]byte, 9<<20)) },
		"a trailer that says more":    func(w *writer) { w.entries = 9 },
		"an entry that is cut off":    func(w *writer) { w.block(kindEntries, []byte("\x01g\x00")) },
		"a key longer than the block": func(w *writer) { w.block(kindEntries, []byte("\x01g\x0012345678\x00\xff\xff\xff\xff\x7f")) },
		"a TTL that no duration can hold": func(w *writer) {
			w.block(kindEntries, []byte("\x01g\x0012345678\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00"))
		},
		"a flag that there is not": func(w *writer) { w.block(kindEntries, []byte("\x01g\x0212345678\x00\x00\x00")) },
		"another kind of block":    func(w *writer) { w.block('X', []byte("new")) },
		"a large header":           func(w *writer) { w.block(kindHeader, make([]byte, mostWords+1)) },
	} {
		w, err := newWriter(encoder, testHeader)
		if err != nil {
			t.Fatal(err)
		}
		add(w)
		data, err := w.finish()
		if err != nil {
			t.Fatal(err)
		}
		if _, got, err := read(bytes.NewReader(data)); !errors.Is(err, ErrTorn) || len(got) > 0 {
			t.Errorf("%s: %d entries, %v", name, len(got), err)
		}
	}
}

// FuzzPart: whatever the bytes, a reader ends, says what is wrong in its own words, and
// what it gives can be written and read again.
func FuzzPart(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(magic + "\x01\x00"))
	small := append(odd()[:3:3], odd()[4])
	f.Add(part(f, testHeader, small))
	f.Add(part(f, testHeader, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Checksums are mended, so that what is behind them is reached, too.
		for _, d := range [][]byte{data, mend(data)} {
			_, got, err := read(bytes.NewReader(d))
			var format *FormatError
			if err != nil && !errors.Is(err, ErrTorn) && !errors.As(err, &format) {
				t.Fatalf("%v", err)
			}
			_, again, err := read(bytes.NewReader(part(t, testHeader, got)))
			if err != nil || len(again) != len(got) {
				t.Fatalf("%d entries are %d when they are written again: %v", len(got), len(again), err)
			}
		}
	})
}

// mend returns the part with right checksums, as far as its blocks can be told apart.
func mend(data []byte) []byte {
	data = bytes.Clone(data)
	for rest := data[min(preamble, len(data)):]; len(rest) >= blockHeader; {
		size := int64(binary.LittleEndian.Uint32(rest[2:]))
		if size > int64(len(rest)-blockHeader) {
			break
		}
		binary.LittleEndian.PutUint32(rest[10:], checksum(rest[:blockHeader], rest[blockHeader:blockHeader+size]))
		rest = rest[blockHeader+size:]
	}
	return data
}
