package geecache

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// memoryHandler answers everything from memory.
type memoryHandler struct{ value []byte }

func (h memoryHandler) keysOf(string) keyToucher { return nil }

func (h memoryHandler) answerNow(_ *PeerRequest, reply *PeerReply) bool {
	reply.Code, reply.From, reply.Value = CodeOK, FromMain, h.value
	return true
}

func (h memoryHandler) answer(context.Context, *PeerRequest) PeerReply {
	return PeerReply{Code: CodeInternal}
}

// BenchmarkStream measures round trips of 100-byte values over TCP loopback. Client
// and server share this process and its processors.
func BenchmarkStream(b *testing.B) {
	id := func() hello { return hello{Cluster: "bench", ID: "n"} }
	s := newStreamServer(streamServerConfig{self: id, handler: memoryHandler{make([]byte, 100)}})
	web := httptest.NewServer(http.HandlerFunc(s.serveUpgrade))
	defer web.Close()
	defer s.close()
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("Callers=%d", callers), func(b *testing.B) {
			c := newStreamClient(streamClientConfig{self: id, addr: web.Listener.Addr().String()})
			defer c.Close()
			b.ReportAllocs()
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					req := PeerRequest{Group: "scores", Key: "key-" + strconv.Itoa(i)}
					for range (b.N + callers - 1) / callers {
						if r, err := c.Get(context.Background(), &req); err != nil || len(r.Value) != 100 {
							b.Errorf("%v, %v", r, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
		})
	}
}
