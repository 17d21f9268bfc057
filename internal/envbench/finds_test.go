package envbench

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLocalLogIsSought(t *testing.T) {
	l := &local{root: t.TempDir()}
	if _, err := l.SeekLogs(t.Context(), "a", "x"); !errors.Is(err, ErrAbsent) {
		t.Errorf("a cluster that is not there: %v", err)
	}
	if err := os.MkdirAll(l.dir("a"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "msg=started node=n1\nmsg=marker node=n1 marker=run-1.\nmsg=marker node=n2 marker=run-2.\n"
	if err := os.WriteFile(filepath.Join(l.dir("a"), "log"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]int{"run-": 2, "run-1.": 1, "run-3.": 0} {
		v, err := l.SeekLogs(t.Context(), "a", what)
		if err != nil || v.Events["log"] != want || v.Streams[sharedStream] != 1 {
			t.Errorf("SeekLogs(%q) = %+v, %v; want %d lines", what, v, err, want)
		}
	}
}

func TestLocalHasNoRegistryBesideItsNodes(t *testing.T) {
	for _, l := range (&local{}).LookUp(t.Context(), "a", 1) {
		var not *Unsupported
		if !errors.As(l.Err, &not) || len(l.Took) != 0 {
			t.Errorf("%s: %v", l.Method, l.Err)
		}
	}
}

func TestFamilies(t *testing.T) {
	got := families("# HELP a_total what\n# TYPE a_total counter\na_total 1\n# TYPE b gauge\nb{x=\"# TYPE c\"} 1\n")
	if !slices.Equal(got, []string{"a_total", "b"}) {
		t.Errorf("families() = %v", got)
	}
}

// Pages of metrics are put together; each is asked for as CloudWatch's older protocol has it.
func TestMetricNames(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "ListMetrics" || r.FormValue("Namespace") != "GeeCache" || r.FormValue("Dimensions.member.1.Name") != "cluster" ||
			r.FormValue("Dimensions.member.1.Value") != "a" || !strings.Contains(r.Header.Get("Authorization"), "/us-east-1/monitoring/aws4_request") {
			t.Errorf("the request is %v, %v", r.Form, r.Header)
		}
		name, next := "geecache_b", "<NextToken>more</NextToken>"
		if r.FormValue("NextToken") == "more" {
			name, next = "geecache_a", ""
		}
		fmt.Fprintf(w, `<ListMetricsResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><ListMetricsResult><Metrics><member><Namespace>GeeCache</Namespace>`+
			`<MetricName>%s</MetricName><Dimensions><member><Name>cluster</Name><Value>a</Value></member></Dimensions></member>`+
			`<member><MetricName>geecache_c</MetricName><Dimensions><member><Name>cluster</Name><Value>another</Value></member></Dimensions></member></Metrics>%s</ListMetricsResult></ListMetricsResponse>`, name, next)
	}))
	defer srv.Close()
	c, err := newEmulator(Options{Endpoint: srv.URL, Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.metricNames(t.Context(), "GeeCache", "cluster", "a")
	if err != nil || !slices.Equal(got, []string{"geecache_b", "geecache_a"}) {
		t.Errorf("metricNames() = %v, %v", got, err)
	}
}
