package envbench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/envbench/result"
)

// A shape is a call as AWS's documentation has it: see testdata/aws.
type shape struct {
	Source, Target    string
	Request, Response json.RawMessage
}

// documented answers as the documentation says, and counts what differs from it as an
// error of the test.
type documented struct {
	t      *testing.T
	shapes map[string]shape
	mu     sync.Mutex
	asked  map[string]int // by the call's name
}

func newDocumented(t *testing.T) (*documented, *cloud) {
	t.Helper()
	d := &documented{t: t, shapes: make(map[string]shape), asked: make(map[string]int)}
	files, err := filepath.Glob("testdata/aws/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d shapes: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var s shape
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if !strings.HasPrefix(s.Source, "https://docs.aws.amazon.com/") {
			t.Errorf("%s: its source is %q", file, s.Source)
		}
		d.shapes[s.Target] = s
	}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	return d, asAWS(t)
}

// asAWS returns the driver of AWS, with keys that are nobody's.
func asAWS(t *testing.T) *cloud {
	t.Helper()
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_PROFILE", "")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	driver, err := New(AWS, Options{StartWithin: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return driver.(*awsDriver).cloud
}

// ServeHTTP implements http.Handler.
func (d *documented) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		d.t.Error(err)
	}
	target := r.Header.Get("X-Amz-Target")
	s, found := d.shapes[target]
	if !found {
		d.t.Errorf("%s %s %s is called, which is no documented shape: %s", r.Method, r.URL, target, body)
		http.Error(w, "unknown", http.StatusNotFound)
		return
	}
	d.mu.Lock()
	d.asked[target[strings.LastIndexByte(target, '.')+1:]]++
	d.mu.Unlock()
	var got, want any
	if err := json.Unmarshal(body, &got); err != nil {
		d.t.Errorf("%s: %v in %s", target, err, body)
	}
	if err := json.Unmarshal(s.Request, &want); err != nil {
		d.t.Errorf("%s: %v", target, err)
	}
	if !reflect.DeepEqual(got, want) {
		d.t.Errorf("%s is called with\n%s\nand is documented at %s with\n%s", target, body, s.Source, s.Request)
	}
	if contentType := r.Header.Get("Content-Type"); contentType != "application/x-amz-json-1.1" {
		d.t.Errorf("%s: the content type is %q", target, contentType)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if _, err := w.Write(s.Response); err != nil {
		d.t.Error(err)
	}
}

// No emulator at hand has Application Auto Scaling or Container Insights: the trials' calls
// have the shape that AWS's documentation has, and what they make of its answers is right.
func TestCallsThatNoEmulatorHasAreAsDocumented(t *testing.T) {
	d, c := newDocumented(t)
	l := &lab{c: c, name: "demo", cluster: "demo-fidelity", every: time.Millisecond, within: func(emulator, _ time.Duration) time.Duration { return emulator }}
	for _, tt := range []struct {
		name string
		try  func(context.Context) (outcome, error)
		want string // in the evidence
	}{
		{"RegisterScalableTarget", l.tryScalable, "DescribeScalableTargets has service/demo-fidelity/steady"},
		{"PutScalingPolicy", l.tryPolicy, "2 alarms were made for it"},
		{"the trigger", l.tryTrigger, "2 tasks are desired of 1 to 3"},
		{"Container Insights", func(ctx context.Context) (outcome, error) {
			is, err := c.WatchContainers(ctx, l.cluster)
			return outcome{result.Done, is}, err
		}, "containerInsights is enabled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.try(t.Context())
			if err != nil || got.verdict != result.Done || !strings.Contains(got.evidence, tt.want) {
				t.Errorf("%+v, %v; want %q", got, err, tt.want)
			}
		})
	}
	if err := l.close(t.Context()); err != nil { // the policy and the target are taken back
		t.Error(err)
	}
	for target := range d.shapes {
		if name := target[strings.LastIndexByte(target, '.')+1:]; d.asked[name] == 0 {
			t.Errorf("%s was not called", name)
		}
	}
}

// Metrics of Container Insights are asked for, and read, in the form of CloudWatch's query
// API: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html
func TestInsightsMetricsAreReadAsDocumented(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			t.Error(err)
		}
		for key, want := range map[string]string{
			"Action": "ListMetrics", "Version": "2010-08-01", "Namespace": "ECS/ContainerInsights",
			"Dimensions.member.1.Name": "ClusterName", "Dimensions.member.1.Value": "demo",
		} {
			if form.Get(key) != want {
				t.Errorf("%s is %q, and documented as %q", key, form.Get(key), want)
			}
		}
		metric, next := "CpuUtilized", "<NextToken>more</NextToken>"
		if form.Get("NextToken") == "more" {
			metric, next = "MemoryUtilized", ""
		}
		fmt.Fprintf(w, `<ListMetricsResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><ListMetricsResult><Metrics><member>
			<Namespace>ECS/ContainerInsights</Namespace><MetricName>%s</MetricName>
			<Dimensions><member><Name>ClusterName</Name><Value>demo</Value></member></Dimensions>
			</member></Metrics>%s</ListMetricsResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></ListMetricsResponse>`, metric, next)
	}))
	defer server.Close()
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	dimension := "" // that ListMetrics asks for there
	for _, space := range metricSpaces {
		if space.namespace == insightsNamespace {
			dimension = space.dimension
		}
	}
	names, err := asAWS(t).metricNames(t.Context(), insightsNamespace, dimension, "demo")
	if err != nil || strings.Join(names, " ") != "CpuUtilized MemoryUtilized" {
		t.Errorf("the names are %q, %v", names, err)
	}
}
