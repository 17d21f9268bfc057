package judge

import (
	"math"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/prices"
)

func TestCost(t *testing.T) {
	s := &session{Config: Config{
		Environment: envbench.Docker, Deployment: envbench.Deployment{Nodes: 5}.WithDefaults(),
		CloudWatchMetrics: func(processes int) int { return 10 * processes },
	}}
	var got result.Test
	if err := cost(t.Context(), s, &got); err != nil {
		t.Fatal(err)
	}
	if here := got.Find("total"); here == nil || here.Median() != 0 {
		t.Errorf("Docker costs %v", here)
	}
	sum := 0.0
	for _, one := range got.Series {
		if strings.HasPrefix(one.Name, "aws/item/") {
			sum += one.Median()
		}
	}
	inAWS := got.Find("aws/total").Median()
	if math.Abs(sum-inAWS) > 1e-12 || math.Abs(got.Find("aws/month/total").Median()-inAWS*prices.HoursPerMonth) > 1e-9 {
		t.Errorf("the items are %v together, and the total %v", sum, inAWS)
	}
	if m := got.Find("aws/item/metrics of GeeCache, about (cloudwatch_metrics)"); m == nil || math.Abs(m.Median()-60*0.30/730) > 1e-12 {
		t.Errorf("60 metrics cost %v", m)
	}
	if spot := got.Find("aws/with Spot/total"); spot == nil || spot.Median() >= inAWS {
		t.Errorf("on demand it costs %v, and with Spot %v", inAWS, spot)
	}
	if logs := got.Find("aws/each of/GB of logs a month"); logs == nil || math.Abs(logs.Median()-0.50) > 1e-9 {
		t.Errorf("a GB of logs costs %v", logs)
	}
	s.Environment, s.Options.Region = envbench.AWS, "eu-central-1"
	if err := cost(t.Context(), s, &got); err == nil {
		t.Error("a region without prices has a cost")
	}
}
