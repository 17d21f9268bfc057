package geecache

import (
	"bytes"
	"io"
)

// A ByteView is an immutable view of bytes. It is a small value: pass it by
// value, keep it for as long as you like, share it between goroutines. The
// bytes behind it belong to the cache and never change; the methods that hand
// out a []byte copy, so that no caller can change what another one reads.
//
// The zero ByteView is an empty value.
type ByteView struct {
	b []byte
}

// ViewOf returns a view of b without copying it. The caller gives b up: it
// must not change it afterwards.
func ViewOf(b []byte) ByteView { return ByteView{b: b} }

// Len returns the view's length in bytes.
func (v ByteView) Len() int { return len(v.b) }

// ByteSlice returns a copy of the bytes, which the caller owns.
func (v ByteView) ByteSlice() []byte { return bytes.Clone(v.b) }

// String returns the bytes as a string. It copies.
func (v ByteView) String() string { return string(v.b) }

// At returns the byte at index i. It panics if i is out of range.
func (v ByteView) At(i int) byte { return v.b[i] }

// Slice returns the view of the bytes from index from up to, not including, to.
// It panics if they are out of range.
func (v ByteView) Slice(from, to int) ByteView { return ByteView{b: v.b[from:to:to]} }

// Copy copies the bytes into dst and returns how many were copied.
func (v ByteView) Copy(dst []byte) int { return copy(dst, v.b) }

// Equal reports whether both views hold the same bytes.
func (v ByteView) Equal(w ByteView) bool { return bytes.Equal(v.b, w.b) }

// EqualBytes reports whether the view holds the same bytes as b.
func (v ByteView) EqualBytes(b []byte) bool { return bytes.Equal(v.b, b) }

// Append appends the bytes to dst and returns the extended slice.
func (v ByteView) Append(dst []byte) []byte { return append(dst, v.b...) }

// Reader returns a reader of the bytes, which can seek.
func (v ByteView) Reader() io.ReadSeeker { return bytes.NewReader(v.b) }

// WriteTo writes the bytes to w without copying them. It implements io.WriterTo.
func (v ByteView) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(v.b)
	if err == nil && n < len(v.b) {
		err = io.ErrShortWrite
	}
	return int64(n), err
}
