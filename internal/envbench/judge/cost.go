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
	t.Notes = append(t.Notes, fmt.Sprintf(
		"Prices of %s as of %s, before traffic, logs and stored bytes: %d nodes and an API server as aws-terraform makes them without further variables.",
		region, prices.Date, shape.Nodes))
	return nil
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
