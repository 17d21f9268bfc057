package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/geecache/geecache/geecache"
)

// A line of EMF, as CloudWatch reads it.
type emfLine struct {
	AWS struct {
		Timestamp         int64
		CloudWatchMetrics []directive
	} `json:"_aws"`
}

// checkLine checks what the specification says of a line, by the published schema and,
// where that says nothing, in words.
func checkLine(t *testing.T, schema *jsonschema.Schema, text string) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	var line emfLine
	var root map[string]any
	if err := errors.Join(json.Unmarshal([]byte(text), &line), json.Unmarshal([]byte(text), &root)); err != nil {
		t.Fatal(err)
	}
	if len(text) > 16<<10 {
		t.Errorf("a line of %d bytes", len(text))
	}
	for _, d := range line.AWS.CloudWatchMetrics {
		if len(d.Metrics) > 100 || d.Namespace != "GeeCache" {
			t.Errorf("%d metrics in %s", len(d.Metrics), d.Namespace)
		}
		for _, set := range d.Dimensions {
			for _, name := range set {
				if v, ok := root[name].(string); !ok || v == "" || len(v) > 1024 {
					t.Errorf("dimension %s is %v", name, root[name])
				}
			}
		}
		for _, m := range d.Metrics {
			switch v := root[m.Name].(type) {
			case float64:
			case []any:
				if len(v) == 0 || len(v) > 100 {
					t.Errorf("%s has %d values", m.Name, len(v))
				}
				for _, one := range v {
					if _, ok := one.(float64); !ok {
						t.Errorf("%s holds %v", m.Name, one)
					}
				}
			default:
				t.Errorf("%s is %v", m.Name, root[m.Name])
			}
		}
	}
}

func emfSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("testdata/emf.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("emf.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("emf.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestLinesAreValid(t *testing.T) {
	schema := emfSchema(t)
	if schema.Validate(map[string]any{"_aws": map[string]any{"Timestamp": "now"}}) == nil {
		t.Fatal("the schema takes anything")
	}
	stats := busy("n1")
	const more = 40
	for i := range more {
		g := stats.Groups[0]
		g.Name = fmt.Sprint("group ü ", i)
		stats.Groups = append(stats.Groups, g)
	}
	for i := range 250 {
		stats.Peers = append(stats.Peers, geecache.PeerStats{Peer: geecache.Peer{ID: fmt.Sprint("peer", i)}, State: "up", RTT: 123456789})
	}
	_, c, reg := newChanging(t, &stats)
	for i := range 5000 {
		c.ObserveMiss("scores", time.Duration(i*i)*time.Microsecond)
		c.ObserveLoad("scores", time.Duration(i*i)*time.Microsecond, nil)
	}
	points := next(t, NewMeter(reg, time.Unix(1000, 0), Choice{}), time.Unix(1060, 0))
	var out bytes.Buffer
	if err := NewEMF(&out, "", strings.Repeat("n", 2000)).Send(time.Unix(1060, 0), points); err != nil {
		t.Fatal(err)
	}
	values, lines := 0, 0
	for text := range strings.Lines(out.String()) {
		checkLine(t, schema, text)
		var line emfLine
		if err := json.Unmarshal([]byte(text), &line); err != nil || line.AWS.Timestamp != 1060e3 {
			t.Errorf("%v, at %d", err, line.AWS.Timestamp)
		}
		lines++
		for _, d := range line.AWS.CloudWatchMetrics {
			values += len(d.Metrics)
		}
	}
	if values != len(points) || lines < more {
		t.Errorf("%d points became %d in %d lines", len(points), values, lines)
	}
}

// A line that is too long for a log driver becomes several.
func TestLongLinesAreCut(t *testing.T) {
	var points []Point
	for i := range 90 {
		p := Point{Name: fmt.Sprint("geecache_", i), Unit: "None", Sets: [][]string{{"cluster"}}}
		for j := range MaxValues {
			p.Values = append(p.Values, 1/float64(j+3))
		}
		points = append(points, p)
	}
	var out bytes.Buffer
	if err := NewEMF(&out, "c", "n").Send(time.Now(), points); err != nil {
		t.Fatal(err)
	}
	schema := emfSchema(t)
	for text := range strings.Lines(out.String()) {
		checkLine(t, schema, text)
	}
	if n := strings.Count(out.String(), "\n"); n < 10 {
		t.Errorf("%d bytes in %d lines", out.Len(), n)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the pipe is closed") }

func TestEMFTellsWhatCannotBeWritten(t *testing.T) {
	points := []Point{{Name: "x", Unit: "None", Values: []float64{1}, Sets: [][]string{{"cluster"}}}}
	if err := NewEMF(broken{}, "c", "n").Send(time.Now(), points); err == nil {
		t.Error("no error")
	}
}
