package cloudwatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/metrics"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// server returns the address of a real server, without which the test is skipped,
// or fails where the servers are required.
func server(t *testing.T, variable string) string {
	t.Helper()
	if value := os.Getenv(variable); value != "" {
		return value
	}
	const remedy = `%s is not set; run eval "$(scripts/test-servers up)"`
	if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
		t.Fatalf(remedy, variable)
	}
	t.Skipf(remedy, variable)
	return ""
}

// noAWS keeps what is on the machine out of the tests.
func noAWS(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// A busy node has answered this and that.
func busy(t *testing.T, cluster string) (*prometheus.Registry, *geecache.Group) {
	t.Helper()
	collector := metrics.NewCollector(nil)
	n, err := geecache.New(geecache.Config{Cluster: cluster, Addr: "127.0.0.1:1", Observer: collector, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	collector.Watch(n)
	g, err := n.NewGroup("scores", geecache.GetterFunc(func(_ context.Context, key string) (geecache.Value, error) {
		if strings.HasPrefix(key, "bad") {
			return geecache.Value{}, errors.New("the source is down")
		}
		return geecache.Value{Bytes: []byte("630")}, nil
	}), geecache.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := metrics.NewRegistry(collector)
	if err != nil {
		t.Fatal(err)
	}
	return reg, g
}

func ask(t *testing.T, g *geecache.Group, keys int, prefix string) {
	t.Helper()
	for i := range keys {
		for range 3 {
			_, err := g.Get(t.Context(), fmt.Sprint(prefix, i))
			if (err != nil) != (prefix == "bad") {
				t.Fatal(err)
			}
		}
	}
}

// totals returns what Prometheus has of the node's counters.
func totals(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for _, f := range all {
		if !strings.HasPrefix(f.GetName(), "geecache_") {
			continue
		}
		for _, s := range f.GetMetric() {
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				sums[f.GetName()] += s.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				sums[f.GetName()+"_count"] += float64(s.GetHistogram().GetSampleCount())
			}
		}
	}
	return sums
}

func TestCloudWatchHasWhatPrometheusHas(t *testing.T) {
	for _, e := range []struct{ name, variable string }{
		{"MiniStack", "GEECACHE_TEST_MINISTACK"}, {"moto", "GEECACHE_TEST_MOTO"},
	} {
		t.Run(e.name, func(t *testing.T) {
			noAWS(t)
			endpoint := server(t, e.variable)
			cluster := fmt.Sprint("test-", time.Now().UnixNano())
			reg, group := busy(t, cluster)
			f, err := Open(t.Context(), Config{Endpoint: endpoint, Cluster: cluster, Node: "n1"})
			if err != nil {
				t.Fatal(err)
			}
			meter := metrics.NewMeter(reg, time.Now(), metrics.Choice{})
			for i, prefix := range []string{"a", "bad", "c"} {
				ask(t, group, 10*(i+1), prefix)
				if err := meter.Report(f.Send); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s := f.Stats(); s.Failures+s.Dropped > 0 || s.Sent < 100 {
				t.Errorf("%+v", s)
			}
			compare(t, f.api.(*cloudwatch.Client), cluster, totals(t, reg))
		})
	}
}

// compare asks both of CloudWatch's reading calls for the sums: one for the node's, one
// for the cluster's. (The node's set is in no other one: where moto is asked for
// statistics, it adds those of all sets that hold the one that is asked for.)
func compare(t *testing.T, c *cloudwatch.Client, cluster string, want map[string]float64) {
	t.Helper()
	from, to := time.Now().Add(-10*time.Minute), time.Now().Add(10*time.Minute)
	ofCluster := []types.Dimension{{Name: aws.String("cluster"), Value: &cluster}}
	ofNode := append([]types.Dimension{{Name: aws.String("node"), Value: aws.String("n1")}}, ofCluster...)
	counted := 0
	for name, sum := range want {
		stats, err := c.GetMetricStatistics(t.Context(), &cloudwatch.GetMetricStatisticsInput{
			Namespace: aws.String(metrics.Namespace), MetricName: &name, Dimensions: ofNode, StartTime: &from, EndTime: &to,
			Period: aws.Int32(60), Statistics: []types.Statistic{types.StatisticSum},
		})
		if err != nil {
			t.Fatal(err)
		}
		got := 0.0
		for _, p := range stats.Datapoints {
			got += *p.Sum
		}
		if got != sum {
			t.Errorf("%s: GetMetricStatistics has %v, Prometheus %v", name, got, sum)
		}
		if sum == 0 {
			continue
		}
		counted++
		data, err := c.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{StartTime: &from, EndTime: &to, MetricDataQueries: []types.MetricDataQuery{{
			Id: aws.String("m"), MetricStat: &types.MetricStat{
				Metric: &types.Metric{Namespace: aws.String(metrics.Namespace), MetricName: &name, Dimensions: ofCluster},
				Period: aws.Int32(60), Stat: aws.String("Sum"),
			},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		got = 0
		for _, r := range data.MetricDataResults {
			for _, v := range r.Values {
				got += v
			}
		}
		if got != sum {
			t.Errorf("%s: GetMetricData has %v, Prometheus %v", name, got, sum)
		}
	}
	if counted < 8 {
		t.Errorf("only %d counters have counted", counted)
	}
}

// A locked text is a log that is read while others write.
type locked struct {
	mu   sync.Mutex
	text strings.Builder
	said chan struct{}
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		select {
		case l.said <- struct{}{}:
		default:
		}
	}()
	return l.text.Write(b)
}

func TestMissingCredentialsAreToldAtOnce(t *testing.T) {
	noAWS(t)
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1") // an emulator's, which a region leaves aside
	log := &locked{said: make(chan struct{}, 1)}
	f, err := Open(t.Context(), Config{Endpoint: "eu-central-1", Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	<-log.said
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if !strings.Contains(log.text.String(), "no AWS credentials: give the task a role") {
		t.Errorf("the log: %s", log.text.String())
	}
}
