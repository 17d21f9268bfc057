package peergrpc

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/geecache/geecache/geecache"
)

// A stranger who sends a part of a message, and then nothing, is answered from the
// header of his request, whatever he asks for; no body is read for him.
func TestStrangersAreAnsweredFromTheirHeaders(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		opts := testOptions()
		opts.Authorize = func(authorization string, verified bool) error {
			if authorization == "Bearer right" || verified {
				return nil
			}
			return errors.New("prove 100 % of the secret")
		}
		addr := serve(t, newServer(t, echo, opts))
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		for _, method := range []string{"geecachepb.GroupCache/Get", "geecachepb.GroupCache/GetMany", "geecachepb.GroupCache/Nope", "grpc.health.v1.Health/Watch", "nope/Nope"} {
			for _, authorization := range []string{"", "Bearer wrong"} {
				body, write := io.Pipe()
				req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, "http://"+addr+"/"+method, body)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/grpc")
				req.Header.Set("Te", "trailers")
				if authorization != "" {
					req.Header.Set("Authorization", authorization)
				}
				go func() { _, _ = write.Write([]byte("\x00\x00\x1f\xff\xffthe begin of it")) }()
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatalf("%s, authorization %q: %v", method, authorization, err)
				}
				rest, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				body.Close()
				if h := resp.Header; resp.StatusCode != http.StatusOK || h.Get("Grpc-Status") != "16" || len(rest) > 0 || err != nil {
					t.Errorf("%s, authorization %q: %s, %v, %q, %v", method, authorization, resp.Status, h, rest, err)
				}
			}
		}
	})
}

// What gRPC reads of a body, and does not answer yet, is bounded for each request and for
// all of them together.
func TestHeldBodiesAreBounded(t *testing.T) {
	var held atomic.Int64
	open := func(size int) *heldBody {
		return &heldBody{ReadCloser: io.NopCloser(iotest.OneByteReader(bytes.NewReader(make([]byte, size)))), held: &held, left: 1 << 20}
	}
	buf := make([]byte, 16<<10)
	small := open(1)
	if n, err := io.CopyBuffer(io.Discard, small, buf); n != 1 || err != nil || held.Load() != 0 {
		t.Errorf("a request of one buffer: %d bytes, %v; held %d", n, err, held.Load())
	}
	var long *heldBody
	reads := 0
	var err error
	for long = open(1 << 20); err == nil; reads++ {
		_, err = long.Read(buf)
	}
	if want := heldBytes/len(buf) + 2; !errors.Is(err, errHeld) || reads != want {
		t.Errorf("single bytes in buffers of 16 KiB: %v after %d reads, want %v after %d", err, reads, errHeld, want)
	}
	long.release()
	if held.Load() != 0 {
		t.Errorf("%d bytes are held by nobody", held.Load())
	}
	endless := &heldBody{ReadCloser: io.NopCloser(bytes.NewReader(make([]byte, 2<<20))), held: &held, left: 1 << 20}
	n := 0
	for err = nil; err == nil; {
		var m int
		m, err = endless.Read(buf)
		n += m
	}
	if !errors.Is(err, errBodyTooLarge) || n != 1<<20 {
		t.Errorf("a body without an end: %d bytes, %v", n, err)
	}
}

// Requests of the largest size pass, one after the other, and leave nothing behind.
func TestLargeRequestsAreLetGo(t *testing.T) {
	opts := testOptions()
	opts.MaxKeyBytes = 8 << 20
	s := newServer(t, echo, opts)
	peer := newPeer(t, serveHTTP(t, s), Transport{MaxKeyBytes: 8 << 20, MaxValueBytes: 16 << 20})
	key := string(make([]byte, 8<<20))
	for range 2 * heldBytes / len(key) {
		if reply, err := peer.Get(testContext(t), &geecache.PeerRequest{Group: "g", Key: key}); err != nil || len(reply.Value) != len(key) {
			t.Fatalf("%v, %v", reply.Code, err)
		}
	}
}
