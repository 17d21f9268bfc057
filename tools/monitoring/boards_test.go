//lint:file-ignore SA1019 releases 10 and 11 of Grafana know the older model alone

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cloudwatch"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

const root = "../.."

var boardDir = filepath.Join(root, "monitoring", "grafana", "dashboards")

func TestDashboardsAreWhatIsDescribed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(boardDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boards() {
		want, err := encode(b)
		if err != nil {
			t.Fatalf("%s: %v", b.uid, err)
		}
		path := filepath.Join(boardDir, b.uid+".json")
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what tools/monitoring describes: run make dashboards", path)
		}
		files = slices.DeleteFunc(files, func(f string) bool { return f == path })
	}
	if len(files) > 0 {
		t.Errorf("nothing describes %v", files)
	}
}

// Grafana's own model of a dashboard takes the files, and knows all their members.
func TestDashboardsFitGrafanasModel(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for _, b := range boards() {
		data, err := os.ReadFile(filepath.Join(boardDir, b.uid+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard.Dashboard
		if err := strict(&d, data); err != nil {
			t.Errorf("%s: %v", b.uid, err)
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", b.uid, err)
		}
		checkPanels(t, b.uid, data)
	}
}

// strict decodes, and fails on members that are not of the model. The library returns
// an empty list of errors, which is no nil error, where all is well.
func strict(into interface{ UnmarshalJSONStrict([]byte) error }, data []byte) error {
	if err := into.UnmarshalJSONStrict(data); err != nil && err.Error() != "" {
		return err
	}
	return nil
}

func checkPanels(t *testing.T, uid string, data []byte) {
	var raw struct {
		Panels []struct {
			ID                       uint32
			Type, Title, Description string
			Targets                  []json.RawMessage
			GridPos                  struct{ X, W int }
		}
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	ids := map[uint32]bool{}
	for _, p := range raw.Panels {
		if p.Type == "row" {
			continue
		}
		if ids[p.ID] || p.Title == "" || p.Description == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s: panel %d, %q: no ID of its own, no title, no description, or no place", uid, p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, raw := range p.Targets {
			var kind struct{ Expr string }
			if err := json.Unmarshal(raw, &kind); err != nil {
				t.Fatal(err)
			}
			var err error
			if kind.Expr != "" {
				err = strict(new(prometheus.Dataquery), raw)
			} else {
				err = strict(new(cloudwatch.MetricsQuery), raw)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", uid, p.Title, err)
			}
		}
	}
}

var identifier = regexp.MustCompile(`\b[a-z][a-z0-9]*\b`)

// CloudWatch refuses a whole panel for one expression that names what is not there.
func TestExpressionsNameMetricsOfTheirPanel(t *testing.T) {
	for _, b := range boards() {
		for _, r := range b.rows {
			for _, p := range r.panels {
				ids := map[string]bool{}
				for _, m := range p.cloudwatch {
					for _, name := range identifier.FindAllString(m.expr, -1) {
						if !ids[name] {
							t.Errorf("%s: %s: %s names %q, which no metric before it is", b.uid, p.title, m.expr, name)
						}
					}
					if !identifier.MatchString(m.id) || ids[m.id] {
						t.Errorf("%s: %s: the ID %q is none, or there twice", b.uid, p.title, m.id)
					}
					ids[m.id] = true
				}
			}
		}
	}
}
