package loadgen_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/geecache/geecache/internal/loadgen"
)

// How another package measures the API of a deployment: 200 requests a second
// for half a second, after a tenth of one that is not counted.
func ExampleRun() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "value-of-", r.FormValue("key"))
	}))
	defer api.Close()
	right, err := loadgen.ExpectFormat("value-of-%s")
	if err != nil {
		panic(err)
	}

	r, err := loadgen.Run(context.Background(), loadgen.Config{
		URLs:     []string{api.URL}, // asked for /api?key=KEY&group=scores
		Group:    "scores",
		HTTP:     loadgen.HTTPOptions{APIToken: "the token of the API"},
		Rate:     200,
		Duration: 500 * time.Millisecond,
		Warmup:   100 * time.Millisecond,
		Keys:     loadgen.Keys{Dist: loadgen.Zipf, N: 1000, Format: "user:%d"},
		Seed:     1,
		Expect:   right,
	})
	if err != nil {
		panic(err) // the Config makes no sense: answers are never the error
	}
	fmt.Println(r.Requests, "requests,", r.Count(loadgen.OK), "right,", r.Failed, "failed")
	fmt.Println(r.Latency.P99 > 0, r.Latency.P999 >= r.Latency.P99) // from the intended send
	fmt.Println(r.Saturated == (r.Lag.P99 >= loadgen.SaturatedLag))
	for _, s := range r.Seconds {
		fmt.Println("second", s.Second, "has", s.Requests, "requests,", s.Failed, "failed")
	}
	// Output:
	// 100 requests, 100 right, 0 failed
	// true true
	// true
	// second 0 has 100 requests, 0 failed
}
