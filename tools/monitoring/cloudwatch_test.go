package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go/transport/http/protocol/awsquery"

	"github.com/geecache/geecache/metrics"
)

const region = "us-east-1"

// names returns the names of the dimensions of a metric that a panel asks for.
func (m metric) names() []string {
	names := []string{"cluster"}
	for _, l := range m.labels {
		name, _, _ := strings.Cut(l, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// CloudWatch answers a question for other dimensions than those that were sent with
// nothing. What is sent is what nodes send by default.
func TestNodesSendWhatPanelsAskCloudWatchFor(t *testing.T) {
	sent := map[string][][]string{}
	for _, m := range (metrics.Choice{ClusterOnly: true}).Metrics() {
		for _, set := range m.Dimensions {
			sent[m.Name] = append(sent[m.Name], slices.Sorted(slices.Values(set)))
		}
	}
	for _, b := range boards() {
		for _, r := range b.rows {
			for _, p := range r.panels {
				for _, m := range p.cloudwatch {
					if m.name != "" && !slices.ContainsFunc(sent[m.name], func(set []string) bool { return slices.Equal(set, m.names()) }) {
						t.Errorf("%s: %s: nodes send no %s with %v", b.uid, p.title, m.name, m.names())
					}
				}
			}
		}
	}
}

var metricName = regexp.MustCompile(`\bgeecache_[a-z0-9_]+\b`)

// An alarm about a metric that nobody sends is always in order.
func TestTerraformNamesMetricsThatNodesSend(t *testing.T) {
	known := map[string]bool{}
	for _, m := range metrics.CloudWatchMetrics() {
		known[m.Name] = true
	}
	err := filepath.WalkDir(filepath.Join(root, "aws-terraform"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !slices.Contains([]string{".tf", ".tftpl", ".json"}, filepath.Ext(path)) {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range metricName.FindAllString(string(text), -1) {
			if !known[name] && !strings.HasSuffix(name, "_") {
				t.Errorf("%s names %s, which no node sends to CloudWatch", path, name)
			}
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// askCloudWatch asks for the data of each metric of each panel. Expressions are left to
// CloudWatch itself: no emulator works them out.
func askCloudWatch(t *testing.T, endpoint string) {
	client := cloudwatch.New(cloudwatch.Options{
		Region: region, BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}, func(o *cloudwatch.Options) {
		o.Protocol = awsquery.New(schemas.GraniteServiceVersion20100801) // the one that emulators speak
	})
	deadline := time.Now().Add(patience)
	for _, b := range boards() {
		for _, r := range b.rows {
			for _, p := range r.panels {
				for _, m := range p.cloudwatch {
					if m.name == "" || rare[strings.Join(append([]string{m.name}, m.labels...), " ")] {
						continue
					}
					if err := eventuallyBy(deadline, func() error { return hasSamples(t, client, m) }); err != nil {
						t.Errorf("%s: %s: %s %s %v: %v", b.uid, p.title, m.stat, m.name, m.labels, err)
					}
				}
			}
		}
	}
}

// rare are counters that this cluster need not have counted: what has counted nothing is
// not sent.
var rare = map[string]bool{
	"geecache_loads_total group=$group as=other": true, // somebody without a peer to ask
	"geecache_peer_errors_total":                 true, // a request is on its way as a node dies

	// Nothing is wrong with the storage of snapshots, and a first start finds none.
	"geecache_snapshot_storage_errors_total":               true,
	"geecache_snapshot_refused_parts_total":                true,
	"geecache_snapshot_loaded_entries_total result=loaded": true,
	"geecache_snapshot_loaded_entries_total result=others": true,
}

func hasSamples(t *testing.T, client *cloudwatch.Client, m metric) error {
	dims := []types.Dimension{{Name: aws.String("cluster"), Value: aws.String(clusterID)}}
	for _, l := range m.labels {
		name, value, _ := strings.Cut(variablesSet.Replace(l), "=")
		dims = append(dims, types.Dimension{Name: &name, Value: &value})
	}
	now := time.Now()
	out, err := client.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
		StartTime: aws.Time(now.Add(-10 * time.Minute)), EndTime: aws.Time(now.Add(time.Minute)),
		MetricDataQueries: []types.MetricDataQuery{{Id: &m.id, MetricStat: &types.MetricStat{
			Metric: &types.Metric{Namespace: aws.String(namespace), MetricName: &m.name, Dimensions: dims},
			Period: aws.Int32(60), Stat: &m.stat,
		}}},
	})
	if err != nil {
		return err
	}
	if len(out.MetricDataResults) == 0 || len(out.MetricDataResults[0].Values) == 0 {
		return errors.New("no data")
	}
	return nil
}
