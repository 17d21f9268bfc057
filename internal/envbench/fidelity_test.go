package envbench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/geecache/geecache/internal/envbench/result"
)

func TestWhatAnErrorMeans(t *testing.T) {
	answer := func(status int, err error) error {
		return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err}}
	}
	for _, tt := range []struct {
		name    string
		err     error
		verdict string
		want    string
	}{
		{"an API's refusal", answer(400, &smithy.GenericAPIError{Code: "InvalidAction", Message: "no such call"}), result.Refused, "status 400: InvalidAction: no such call"},
		{"a refusal without a code", answer(400, &smithy.GenericAPIError{Code: "UnknownError", Message: "UnknownError"}), result.Refused, "without a code of AWS's"},
		{"a refusal in no known form", answer(501, errors.New("not implemented")), result.Refused, "status 501"},
		{"an answer in no known form", answer(200, errors.New("no JSON")), result.Unknown, "went wrong"},
		{"nobody answers", errors.New("dial tcp: connection refused"), result.Unknown, "connection refused"},
		{"what the driver cannot do", &Unsupported{"it", "it was tried"}, result.Refused, "it was tried"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := failed(fmt.Errorf("around it: %w", tt.err))
			if got.verdict != tt.verdict || !strings.Contains(got.evidence, tt.want) {
				t.Errorf("it is %+v; want %q, %q", got, tt.verdict, tt.want)
			}
		})
	}
}

func TestWhatComesIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		after := func(d time.Duration) func(context.Context) (bool, string, error) {
			return func(context.Context) (bool, string, error) { return time.Since(begun) >= d, "seen", nil }
		}
		if o, err := comes(t.Context(), time.Minute, time.Second, after(30*time.Second)); err != nil || o.verdict != result.Done || o.evidence != "after 30.0 s: seen" {
			t.Errorf("what comes after 30 s is %+v, %v", o, err)
		}
		if o, err := comes(t.Context(), time.Minute, time.Second, after(time.Hour)); err != nil || o.verdict != result.Accepted || o.evidence != "60 s later: seen" {
			t.Errorf("what does not come is %+v, %v", o, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := comes(ctx, time.Minute, 5*time.Second, after(2*time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted: %v", err)
		}
	})
}

func TestTrialsGoOnAfterAnError(t *testing.T) {
	var facts []result.Fact
	err := tryAll(t.Context(), []trial{
		{"a", func(context.Context) (outcome, error) { return outcome{}, errors.New("broken") }},
		{"b", func(context.Context) (outcome, error) { return done("seen") }},
	}, func(f result.Fact) { facts = append(facts, f) })
	if err != nil || len(facts) != 2 || facts[0].Verdict != result.Unknown || facts[1] != (result.Fact{Name: "b", Verdict: result.Done, Evidence: "seen"}) {
		t.Errorf("the facts are %+v, %v", facts, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = tryAll(ctx, []trial{
		{"a", func(context.Context) (outcome, error) { cancel(); return done("seen") }},
		{"b", func(context.Context) (outcome, error) { t.Error("it goes on"); return done("") }},
	}, func(result.Fact) { t.Error("what an interruption has spoilt is reported") })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestStopTimeoutIsJudged(t *testing.T) {
	for took, want := range map[time.Duration]string{
		17 * time.Second: result.Done, 18 * time.Second: result.Done, 5 * time.Second: result.Accepted, 10 * time.Second: result.Accepted, time.Minute: result.Accepted,
	} {
		if o, _ := judgeStop(took, labStop*time.Second); o.verdict != want {
			t.Errorf("after %v it is %+v, want %s", took, o, want)
		}
	}
}

func TestTrustedHosts(t *testing.T) {
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true, "169.254.170.2": true, "172.28.0.2": false, "host.docker.internal": false} {
		if trusted(host) != want {
			t.Errorf("trusted(%q) is %v", host, !want)
		}
	}
}

func TestTheLabIsRemovedNewestFirst(t *testing.T) {
	var order []string
	l := &lab{within: func(emulator, _ time.Duration) time.Duration { return emulator }}
	l.later(func(context.Context) error { order = append(order, "cluster"); return nil })
	l.later(func(context.Context) error { order = append(order, "service"); return errors.New("stuck") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // an interruption removes all the same
	err := l.close(ctx)
	if err == nil || !strings.Contains(err.Error(), "stuck") || strings.Join(order, " ") != "service cluster" {
		t.Errorf("%v, %v", order, err)
	}
}
