package judge

import (
	"context"
	"fmt"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/prices"
)

// costRegion is the region whose prices are used where the deployment is in none.
const costRegion = "us-west-2"

func costTest() test {
	return test{
		id: "cost", title: "What it costs",
		method: "Reckoned from a table of prices with a date, for as many nodes as ran: nothing was bought. It is done once, for it gives the same each time.",
		run:    cost,
	}
}

// cost reckons what the deployment costs: here, and in AWS, where a cluster that is not
// there yet would be.
func cost(_ context.Context, s *session, t *result.Test) error {
	region := s.Options.Region
	if s.Environment != envbench.AWS {
		t.Add("total", "USD/hour", 0)
		t.Add("month/total", "USD/month", 0)
		t.Notes = append(t.Notes, "Nobody charges for this environment by the hour: it takes a part of a machine that is there. An emulator may ask for a licence of its own.")
		region = costRegion
	}
	table, err := prices.In(region)
	if err != nil {
		return &envbench.Unsupported{What: "a price", Evidence: err.Error()}
	}
	shape := s.shape()
	if err := shape.Validate(); err != nil {
		return err
	}
	prefix := ""
	if s.Environment != envbench.AWS {
		prefix = "aws/"
	}
	lines := table.Lines(shape.Configuration())
	for _, l := range lines {
		t.Add(prefix+"item/"+l.What, "USD/hour", l.Dollars)
		t.Add(prefix+"month/item/"+l.What, "USD/month", l.Dollars*prices.HoursPerMonth)
	}
	t.Add(prefix+"total", "USD/hour", prices.Sum(lines))
	t.Add(prefix+"month/total", "USD/month", prices.Sum(lines)*prices.HoursPerMonth)
	spot := shape
	spot.SpotPercent = 100
	t.Add(prefix+"with Spot/total", "USD/hour", prices.Sum(table.Lines(spot.Configuration())))
	for _, l := range table.Lines(prices.Configuration{Traffic: oneOfEach()}) {
		t.Add(prefix+"each of/"+l.What, "USD/month", l.Dollars*prices.HoursPerMonth)
	}
	t.Notes = append(t.Notes, fmt.Sprintf(
		"Prices of %s as of %s, before traffic, logs and stored bytes: %d nodes and an API server as aws-terraform makes them without further variables. "+
			"With Spot: all tasks but the first of each service are on Fargate Spot, whose price moves. "+
			"What is moved and kept depends on the work: \"each of\" says what one of it costs.",
		region, prices.Date, shape.Nodes))
	return nil
}

// oneOfEach is the traffic of which each part is one: so a line's price is that of one.
func oneOfEach() prices.Traffic {
	return prices.Traffic{LogsGB: 1, OutGB: 1, ZonesGB: 1, NATGB: 1, LogsKeptGB: 1, ImageGB: 1, StoredGB: 1, BusyUnits: 1}
}

// shape is what aws-terraform makes for the deployment.
func (s *session) shape() prices.Shape {
	shape := prices.Standard()
	shape.Nodes = s.Deployment.Nodes
	if s.CloudWatchMetrics != nil {
		shape.Metrics = s.CloudWatchMetrics(shape.Nodes + shape.APIs)
	}
	return shape
}
