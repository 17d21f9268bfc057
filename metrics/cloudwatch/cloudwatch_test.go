package cloudwatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geecache/geecache/metrics"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/smithy-go"
)

// A fake is a CloudWatch that answers as it is told.
type fake struct {
	mu       sync.Mutex // guards what follows
	answer   func(ctx context.Context, calls int) error
	calls    int
	requests [][]string // names of what was taken
}

func (f *fake) PutMetricData(ctx context.Context, in *cloudwatch.PutMetricDataInput, _ ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.answer != nil {
		if err := f.answer(ctx, f.calls); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, d := range in.MetricData {
		names = append(names, *d.MetricName)
	}
	f.requests = append(f.requests, names)
	return &cloudwatch.PutMetricDataOutput{}, nil
}

func open(t *testing.T, api api, queue int) (*Forwarder, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer // read when nobody writes
	f, err := Open(t.Context(), Config{
		Endpoint: "eu-central-1", Cluster: "c", Node: "n", Queue: queue, api: api, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, &log
}

func point(name string) []metrics.Point {
	return []metrics.Point{{Name: name, Unit: "Count", Values: []float64{1}, Sets: [][]string{{"cluster"}}}}
}

func send(t *testing.T, f *Forwarder, points []metrics.Point) {
	t.Helper()
	if err := f.Send(time.Now(), points); err != nil {
		t.Fatal(err)
	}
}

func TestTroubleIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(10 * time.Minute)
		api := &fake{answer: func(context.Context, int) error {
			if time.Now().Before(back) {
				return &smithy.GenericAPIError{Code: "ExpiredToken", Message: "expired"}
			}
			return nil
		}}
		f, log := open(t, api, 3)
		for i := range 10 {
			send(t, f, point(fmt.Sprint(i)))
			time.Sleep(30 * time.Second)
		}
		if s := f.Stats(); s.Dropped != 6 || s.Waiting != 3 || s.Sent != 0 || s.Failures < 5 || s.Failures > 30 {
			t.Errorf("while CloudWatch refuses: %+v", s)
		}
		time.Sleep(10 * time.Minute)
		if err := f.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(api.requests); got != "[[0] [7] [8] [9]]" {
			t.Errorf("CloudWatch has %v, want the one that was on its way and the newest 3", got)
		}
		if s := f.Stats(); s.Sent != 4 || s.Dropped != 6 || s.Waiting != 0 {
			t.Errorf("at the end: %+v", s)
		}
		if text := log.String(); strings.Count(text, "not forwarded") != 1 || !strings.Contains(text, "credentials have expired: renew them") ||
			!strings.Contains(text, "forwarded to CloudWatch again") {
			t.Errorf("the log: %s", text)
		}
	})
}

func TestWhatIsRefusedIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fake{answer: func(_ context.Context, calls int) error {
			if calls == 1 {
				return &smithy.GenericAPIError{Code: "InvalidParameterValue", Message: "too old"}
			}
			return nil
		}}
		f, log := open(t, api, 3)
		send(t, f, point("wrong"))
		send(t, f, point("right"))
		if err := f.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if s := f.Stats(); s.Dropped != 1 || s.Sent != 1 || s.Failures != 0 {
			t.Errorf("%+v", s)
		}
		if !strings.Contains(log.String(), "too old") {
			t.Errorf("the log: %s", log)
		}
	})
}

func TestCloseEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := &fake{answer: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		f, _ := open(t, hangs, 3)
		send(t, f, point("a"))
		send(t, f, point("b"))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begun := time.Now()
		if err := f.Close(ctx); err == nil || !strings.Contains(err.Error(), "2 metrics could not be sent") {
			t.Errorf("nothing could be sent, and Close says %v", err)
		}
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("Close took %v", took)
		}
		if s := f.Stats(); s.Dropped != 2 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCloseTriesOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fake{answer: func(_ context.Context, calls int) error {
			if calls == 1 {
				return errors.New("no route to host")
			}
			return nil
		}}
		f, _ := open(t, api, 3)
		send(t, f, point("a"))
		synctest.Wait() // it waits to try again
		if err := f.Close(t.Context()); err != nil || f.Stats().Sent != 1 {
			t.Errorf("%v, %+v", err, f.Stats())
		}
	})
}

func TestRequestsKeepTheBounds(t *testing.T) {
	var points []metrics.Point
	for i := range 900 {
		p := metrics.Point{
			Name: fmt.Sprint("m", i), Unit: "Count", Labels: []metrics.Label{{Name: "group", Value: "g"}},
			Values: []float64{float64(i)}, Sets: [][]string{{"cluster"}, {"cluster", "node"}, {"cluster", "group"}},
		}
		if i%2 == 0 {
			p.Values = append(p.Values, 1, 1, 2)
		}
		points = append(points, p)
	}
	at, total := time.Now(), 0
	for _, r := range requestsOf("c", "n", at, points) {
		bytes := 0
		for _, d := range r {
			bytes += sizeOf(d)
		}
		if total += len(r); len(r) > maxMetrics || bytes > maxBytes {
			t.Errorf("a request of %d metrics and some %d bytes", len(r), bytes)
		}
	}
	if total != 3*len(points) {
		t.Errorf("%d metrics, want %d", total, 3*len(points))
	}
	d := datum("c", "n", at, points[0], []string{"cluster", "group"})
	if fmt.Sprint(d.Values, d.Counts) != "[0 1 2] [1 2 1]" || *d.Dimensions[1].Name != "group" || *d.Dimensions[1].Value != "g" {
		t.Errorf("%+v", d)
	}
	if d = datum("c", "n", at, points[1], []string{"cluster"}); *d.Value != 1 || d.Values != nil || !d.Timestamp.Equal(at) {
		t.Errorf("%+v", d)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"eu-central-1": true, "us-gov-west-1": true, "http://localhost:4566": true, "https://monitoring.eu-central-1.amazonaws.com": true,
		"": false, "localhost:4566": false, "europe": false, "ftp://x": false,
	} {
		if err := (Config{Endpoint: endpoint}).Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}
