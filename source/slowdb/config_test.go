package slowdb

import (
	"strings"
	"testing"
	"time"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]Config{
		"slowdb:":                          {Latency: DefaultLatency},
		"slowdb:?latency=0":                {},
		"slowdb:?latency=200ms&seed=false": {Latency: 200 * time.Millisecond, NoSeed: true},
		"slowdb:?rows=100":                 {Latency: DefaultLatency, Rows: 100},
		"slowdb:rel.db":                    {Path: "rel.db", Latency: DefaultLatency},
		"slowdb:dir/my%20rel.db?seed=true": {Path: "dir/my rel.db", Latency: DefaultLatency},
		"slowdb:///abs/p%23th.db":          {Path: "/abs/p#th.db", Latency: DefaultLatency},
		"slowdb:/abs/path.db":              {Path: "/abs/path.db", Latency: DefaultLatency},
	} {
		if got, err := ParseURL(raw); err != nil || got != want {
			t.Errorf("ParseURL(%q) = %+v, %v; want %+v", raw, got, err, want)
		}
	}
}

func TestParseURLErrors(t *testing.T) {
	for raw, want := range map[string]string{
		"sqlite:x":            "scheme",
		"slowdb://host/x":     `"host"`,
		"slowdb:?latency=50":  "latency",
		"slowdb:?latency=-1s": "Latency",
		"slowdb:?latency=1h":  "Latency",
		"slowdb:?seed=maybe":  "seed",
		"slowdb:?rows=many":   "rows",
		"slowdb:?rows=-1":     "Rows",
		"slowdb:?sead=true":   `"sead"`,
		"slowdb:x%00.db":      "Path",
		"slowdb:x#y":          "fragment",
		"slowdb:x%zz":         "%zz",
		"slowdb:x?%zz":        "%zz",
		"slowdb:\x7f":         "control",
	} {
		if _, err := ParseURL(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseURL(%q) = %v, want an error with %q", raw, err, want)
		}
	}
}
