package result_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/result"
	"github.com/geecache/geecache/internal/machine"
)

func sample(day int) *result.File {
	return &result.File{
		Suite: "engine", Title: "Engine", Begun: time.Date(2026, 11, day, 1, 2, 3, 0, time.UTC), Took: time.Second, Reps: 2,
		Machine: machine.Info{CPU: "some CPU", CPUs: 2, OS: "linux", Arch: "amd64"},
		Notes:   []string{"80% <Get>"},
		Groups: []result.Group{{Name: "get", Title: "Get", Units: []string{"ns/op", "allocs/op"}, Points: []result.Point{{
			Name: "entries=10", N: 10, Series: []result.Series{
				{Subject: "a", Unit: "ns/op", Samples: []float64{30.5, 31}},
				{Subject: "a", Unit: "allocs/op", Samples: []float64{0, 0}},
				{Subject: "b c", Unit: "ns/op", Samples: []float64{1e6}},
			},
		}}}},
	}
}

func TestWriteRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there")
	for _, day := range []int{3, 24, 9} {
		if err := sample(day).Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	newest, err := result.Newest(dir)
	if err != nil || len(newest) != 1 || !reflect.DeepEqual(newest["engine"], sample(24)) {
		t.Errorf("Newest = %+v, %v", newest["engine"], err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "2026-11-24-engine.txt"))
	if err != nil {
		t.Fatal(err)
	}
	want := `goos: linux
goarch: amd64
pkg: github.com/geecache/geecache/benchmarks
cpu: some CPU
BenchmarkEngine/get/entries=10/cache=a-2	1	30.5 ns/op	0 allocs/op
BenchmarkEngine/get/entries=10/cache=a-2	1	31 ns/op	0 allocs/op
BenchmarkEngine/get/entries=10/cache=b-c-2	1	1e+06 ns/op
`
	if string(text) != want {
		t.Errorf("benchmark lines:\n%swant:\n%s", text, want)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "2026-11-24-engine.json"))
	if err != nil || !strings.Contains(string(raw), "[30.5,31]") {
		t.Errorf("the samples are not on one line (%v):\n%s", err, raw)
	}
}

func TestNewestOfNothing(t *testing.T) {
	newest, err := result.Newest(filepath.Join(t.TempDir(), "none"))
	if err != nil || len(newest) != 0 {
		t.Errorf("Newest of a directory that is not there = %v, %v", newest, err)
	}
}

func TestSamples(t *testing.T) {
	f := sample(1)
	if got := f.Samples("get", "entries=10", "a", "ns/op"); len(got) != 2 {
		t.Errorf("Samples = %v", got)
	}
	for _, name := range [][4]string{{"set", "entries=10", "a", "ns/op"}, {"get", "", "a", "ns/op"}, {"get", "entries=10", "c", "ns/op"}, {"get", "entries=10", "a", "B"}} {
		if got := f.Samples(name[0], name[1], name[2], name[3]); got != nil {
			t.Errorf("Samples(%v) = %v, want none", name, got)
		}
	}
	if (*result.File)(nil).Samples("get", "", "a", "ns/op") != nil {
		t.Error("no file has samples")
	}
}
