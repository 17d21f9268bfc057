package geecache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// onlyFrame cuts the one frame that b must be.
func onlyFrame(t *testing.T, b []byte) frame {
	t.Helper()
	fr := newFrameReader(bytes.NewReader(nil), b, len(b))
	var f frame
	if ok, err := fr.next(&f); !ok || err != nil {
		t.Fatalf("next: %v, %v", ok, err)
	}
	if fr.r != len(b) {
		t.Fatalf("%d of %d bytes make a frame", fr.r, len(b))
	}
	return f
}

func TestRequestRoundTrip(t *testing.T) {
	for _, want := range []PeerRequest{
		{},
		{Group: "g", Key: "k", Mode: ModeMemory, Epoch: 1<<64 - 1, Timeout: time.Hour},
		{Group: strings.Repeat("g", 1<<16-1), Key: "\x00\xff/.. %2F\r\n"},
	} {
		b := appendRequest(nil, 9, &want, want.Timeout)
		if len(b) != requestSize(&want) {
			t.Errorf("%d bytes, requestSize says %d", len(b), requestSize(&want))
		}
		f := onlyFrame(t, b)
		var got requestFrame
		group, key, err := parseRequest(&f, &got)
		if err != nil {
			t.Fatal(err)
		}
		got.Group, got.Key = string(group), string(key)
		if got.id != 9 || got.PeerRequest != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestReplyRoundTrip(t *testing.T) {
	for _, want := range []PeerReply{
		{Value: []byte{}},
		{Code: CodeOverloaded, Message: "no", RetryAfter: time.Second, Value: []byte{}},
		{Value: []byte("v"), TTL: -1, Version: 1 << 63, From: FromPeer, Took: time.Minute, Epoch: 77},
		{Value: make([]byte, pieceSize)},
	} {
		f := onlyFrame(t, appendReply(nil, 9, &want))
		var got replyFrame
		if err := parseReply(&f, &got); err != nil {
			t.Fatal(err)
		}
		if got.id != 9 || got.flags != 0 || !reflect.DeepEqual(got.PeerReply, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	f := onlyFrame(t, appendReply(nil, 9, &PeerReply{Value: make([]byte, pieceSize+1), Message: strings.Repeat("m", 2*maxMessage)}))
	var got replyFrame
	if err := parseReply(&f, &got); err != nil || got.flags != flagMore || got.total != pieceSize+1 || len(got.Value) != 0 || len(got.Message) != maxMessage {
		t.Errorf("a large reply: %v, %+v", err, got)
	}
}

func TestFrameOfALaterVersionWithMoreFieldsIsUnderstood(t *testing.T) {
	b := appendRequest(nil, 9, &PeerRequest{Group: "g", Key: "k"}, 0)
	var later []byte
	later = appendHeader(later, kindRequest, requestFixed+8, 2)
	later = append(later, b[frameHeader:frameHeader+requestFixed]...)
	later = append(later, "newfield"...)
	later = append(later, "gk"...)
	f := onlyFrame(t, later)
	var got requestFrame
	group, key, err := parseRequest(&f, &got)
	if err != nil || string(group) != "g" || string(key) != "k" {
		t.Errorf("%q, %q, %v", group, key, err)
	}
}

func TestFrameReaderTakesAnyCut(t *testing.T) {
	var b []byte
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 300
	for id := range uint64(n) {
		b = appendRequest(b, id, &PeerRequest{Group: "g", Key: strings.Repeat("k", rnd.IntN(3000))}, 0)
	}
	for name, src := range map[string]io.Reader{
		"whole": bytes.NewReader(b), "bytes": iotest.OneByteReader(bytes.NewReader(b)),
		"halves": iotest.HalfReader(bytes.NewReader(b)), "errors": iotest.DataErrReader(bytes.NewReader(b)),
	} {
		fr := newFrameReader(src, nil, 1<<16)
		for id := range uint64(n) {
			f := mustFrame(t, fr)
			var r requestFrame
			if _, _, err := parseRequest(&f, &r); err != nil || r.id != id {
				t.Fatalf("%s: request %d: %v, %v", name, id, r.id, err)
			}
		}
		if _, err := fr.fill(); err != io.EOF {
			t.Errorf("%s: after the last frame: %v", name, err)
		}
	}
}

func mustFrame(t *testing.T, fr *frameReader) frame {
	t.Helper()
	var f frame
	for {
		ok, err := fr.next(&f)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return f
		}
		if _, err := fr.fill(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOversizeRequestIsPassedOver(t *testing.T) {
	b := appendRequest(nil, 1, &PeerRequest{Group: "g", Key: strings.Repeat("k", 5<<20)}, 0)
	b = appendRequest(b, 2, &PeerRequest{Group: "g", Key: "k"}, 0)
	fr := newFrameReader(bytes.NewReader(b), nil, 1000)
	var r requestFrame
	f := mustFrame(t, fr)
	if _, _, err := parseRequest(&f, &r); err != nil || f.skipped != 5<<20+1 || r.id != 1 {
		t.Errorf("the long request: %v, %+v", err, f)
	}
	f = mustFrame(t, fr)
	if _, key, err := parseRequest(&f, &r); err != nil || f.skipped != 0 || r.id != 2 || string(key) != "k" {
		t.Errorf("the next request: %v, %+v", err, f)
	}
	if len(fr.buf) > 2*readBuffer {
		t.Errorf("a buffer of %d bytes for frames of 1000", len(fr.buf))
	}
}

func TestFramesThatAreRefused(t *testing.T) {
	good := appendNumber(nil, kindPing, 1)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	reply := appendReply(nil, 1, &PeerReply{})
	reply[3] = 1
	for name, b := range map[string][]byte{
		"version":       change(4, 9),
		"fixed > frame": change(6, 200),
		"fixed > most":  change(7, 200),
		"huge ping":     change(3, 200),
		"huge request":  appendHeader(nil, kindRequest, requestFixed, 1<<31),
		"huge reply":    reply,
		"text":          []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		var f frame
		if ok, err := newFrameReader(nil, b, 1000).next(&f); ok || !errors.Is(err, errFrame) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	short := func(kind frameKind, fixed, rest int) frame {
		return onlyFrame(t, append(appendHeader(nil, kind, fixed, rest), make([]byte, fixed+rest)...))
	}
	patched := func(b []byte, at int, to byte) frame {
		b[frameHeader+at] = to
		return onlyFrame(t, b)
	}
	for name, f := range map[string]frame{
		"short request":    short(kindRequest, requestFixed-1, 0),
		"short reply":      short(kindReply, replyFixed-1, 0),
		"short piece":      short(kindPiece, pieceFixed-1, 0),
		"short ping":       short(kindPing, pingFixed-1, 0),
		"short cancel":     short(kindCancel, cancelFixed-1, 0),
		"short goaway":     short(kindGoaway, goawayFixed-1, 0),
		"long goaway":      short(kindGoaway, goawayFixed, maxMessage+1),
		"group":            patched(appendRequest(nil, 1, &PeerRequest{Group: "g"}, 0), 24, 2),
		"negative timeout": patched(appendRequest(nil, 1, &PeerRequest{}, 0), 23, 0x80),
		"message":          patched(appendReply(nil, 1, &PeerReply{Message: "m"}), 52, 2),
		"value":            patched(appendReply(nil, 1, &PeerReply{Value: []byte("v")}), 48, 2),
	} {
		if err := parseAny(&f); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// parseAny decodes a frame of any kind.
func parseAny(f *frame) (err error) {
	switch f.kind {
	case kindRequest:
		_, _, err = parseRequest(f, new(requestFrame))
	case kindReply:
		err = parseReply(f, new(replyFrame))
	case kindPiece:
		err = parsePiece(f, new(pieceFrame))
	case kindCancel, kindPing, kindPong, kindDraining:
		_, err = parseNumber(f)
	case kindGoaway:
		_, _, err = parseGoaway(f)
	}
	return err
}

// FuzzFrames feeds any bytes to the reader and the decoders: they must not panic,
// nor keep more than the limit allows, and what they accept must survive being
// encoded again.
func FuzzFrames(f *testing.F) {
	f.Add(appendRequest(nil, 1, &PeerRequest{Group: "g", Key: "k", Timeout: 1}, 1), uint16(100))
	f.Add(appendReply(nil, 1, &PeerReply{Value: []byte("v"), Message: "m"}), uint16(100))
	f.Add(appendReply(nil, 1, &PeerReply{Value: make([]byte, pieceSize+1)}), uint16(100))
	f.Add(appendPiece(nil, &pieceFrame{id: 1, value: []byte("v")}), uint16(100))
	f.Add(appendGoaway(appendNumber(nil, kindPing, 1), CodeBadRequest, "why"), uint16(100))
	f.Add(appendRequest(nil, 1, &PeerRequest{Key: strings.Repeat("k", 500)}, 1), uint16(60))
	f.Fuzz(func(t *testing.T, b []byte, most uint16) {
		fr := newFrameReader(iotest.HalfReader(bytes.NewReader(b)), nil, int(most))
		for {
			var fm frame
			ok, err := fr.next(&fm)
			if err != nil {
				return
			}
			if !ok {
				if _, err := fr.fill(); err != nil {
					return
				}
				if len(fr.buf) > 2*max(readBuffer, int(most)+frameHeader) {
					t.Fatalf("a buffer of %d bytes for frames of %d", len(fr.buf), most)
				}
				continue
			}
			if len(fm.fixed)+len(fm.rest) > int(most) && fm.skipped == 0 {
				t.Fatalf("frame of %d bytes, the limit is %d", len(fm.fixed)+len(fm.rest), most)
			}
			checkReencoding(t, &fm)
		}
	})
}

func checkReencoding(t *testing.T, fm *frame) {
	if parseAny(fm) != nil || fm.skipped > 0 {
		return
	}
	whole := func(fixed int) []byte {
		b := append(binary.LittleEndian.AppendUint32(nil, uint32(fixed+len(fm.rest))), frameVersion, byte(fm.kind), byte(fixed), 0)
		return append(append(b, fm.fixed[:fixed]...), fm.rest...)
	}
	switch fm.kind {
	case kindRequest:
		var r requestFrame
		g, k, _ := parseRequest(fm, &r)
		r.Group, r.Key = string(g), string(k)
		want := whole(requestFixed)
		want[frameHeader+27] = 0 // reserved
		if got := appendRequest(nil, r.id, &r.PeerRequest, r.Timeout); !bytes.Equal(got, want) {
			t.Fatalf("request encoded as %x, was %x", got, want)
		}
	case kindReply:
		var r replyFrame
		if parseReply(fm, &r); r.flags != 0 {
			return
		}
		want := whole(replyFixed)
		clear(want[frameHeader+58 : frameHeader+60])
		if got := appendReply(nil, r.id, &r.PeerReply); len(r.Value) <= pieceSize && !bytes.Equal(got, want) {
			t.Fatalf("reply encoded as %x, was %x", got, want)
		}
	case kindPiece:
		var p pieceFrame
		parsePiece(fm, &p)
		want := whole(pieceFixed)
		clear(want[frameHeader+14 : frameHeader+16])
		if got := appendPiece(nil, &p); !bytes.Equal(got, want) {
			t.Fatalf("piece encoded as %x, was %x", got, want)
		}
	}
}
