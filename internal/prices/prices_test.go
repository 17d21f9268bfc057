package prices

import (
	"strings"
	"testing"
	"time"
)

func TestEveryItemHasOnePriceAndItsSource(t *testing.T) {
	seen := make(map[Item]bool)
	for _, p := range table() {
		if seen[p.Item] {
			t.Errorf("%q is there twice", p.Item)
		}
		seen[p.Item] = true
		if p.Dollar <= 0 || !strings.HasPrefix(p.Source, "https://aws.amazon.com/") {
			t.Errorf("%+v", p)
		}
	}
	if _, err := time.Parse(time.DateOnly, Date); err != nil {
		t.Error(err)
	}
}

func TestIn(t *testing.T) {
	for _, region := range Regions() {
		table, err := In(region)
		if err != nil || table.Of(FargateCPU) != 0.04048 || len(table.All()) < 20 {
			t.Errorf("%s: %v, %v", region, table, err)
		}
	}
	if _, err := In("eu-central-1"); err == nil || !strings.Contains(err.Error(), "us-west-2") {
		t.Errorf("a region without prices: %v", err)
	}
}
