package trace_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/geecache/geecache/benchmarks/internal/trace"
)

func TestZipf(t *testing.T) {
	const n, draws = 1000, 200_000
	counts := make([]int, n)
	z := trace.NewZipf(1, n, 1)
	for range draws {
		counts[z.Next()]++
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	harmonic := math.Log(n) + 0.5772
	for _, rank := range []int{1, 2, 10} {
		want := draws / harmonic / float64(rank)
		if got := float64(counts[rank-1]); math.Abs(got-want) > want/10 {
			t.Errorf("the %d. most frequent key was drawn %v times, want about %.0f", rank, got, want)
		}
	}
	a, b := trace.NewZipf(7, n, 1), trace.NewZipf(7, n, 1)
	for range 100 {
		if a.Next() != b.Next() {
			t.Fatal("the same seed draws other numbers")
		}
	}
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name, content string
		want          []uint32
		distinct      int
	}{
		{"oltp", "7 1 0 0\n7 3 0 1\n\n", []uint32{0, 0, 1, 2}, 3},
		{"gli", "5\n6\n5\n*\n", []uint32{0, 1, 0, 2}, 3},
		{"trace_vaultservice", "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02", []uint32{0, 1}, 2},
	}
	dir := t.TempDir()
	for _, tt := range tests {
		if err := os.WriteFile(filepath.Join(dir, tt.name+".gz"), []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := trace.Load(dir, tt.name)
		if err != nil || got.Name != tt.name || !slices.Equal(got.Requests, tt.want) || got.Distinct != tt.distinct {
			t.Errorf("%s %q: %+v, %v; want %v", tt.name, tt.content, got, err, tt.want)
		}
	}
	if _, err := trace.Load(dir, "other"); err == nil || !strings.Contains(err.Error(), "no trace") {
		t.Errorf("an unknown trace: %v", err)
	}
	if _, err := trace.Load(dir, "p3"); err == nil {
		t.Error("a trace without its file was loaded")
	}
}

func TestMake(t *testing.T) {
	const keys = 2000
	for _, name := range trace.Synthetic() {
		a, err := trace.Make(name, 3, keys)
		if err != nil {
			t.Fatal(err)
		}
		b, err := trace.Make(name, 3, keys)
		if err != nil || !slices.Equal(a.Requests, b.Requests) {
			t.Errorf("%s: the same seed makes another trace (%v)", name, err)
		}
		if n := len(a.Requests); n < 20*keys || n > 22*keys {
			t.Errorf("%s has %d requests, want about %d", name, n, 20*keys)
		}
		if a.Distinct < keys/2 || a.Distinct > 3*keys {
			t.Errorf("%s has %d distinct keys, want about %d", name, a.Distinct, keys)
		}
		if int(slices.Max(a.Requests)) != a.Distinct-1 {
			t.Errorf("%s: keys up to %d, but %d distinct", name, slices.Max(a.Requests), a.Distinct)
		}
	}
	if _, err := trace.Make("other", 1, keys); err == nil {
		t.Error("an unknown trace was made")
	}
}

func TestWithScans(t *testing.T) {
	const keys, span = 1000, 5000
	var plain []uint32
	for _, scan := range []trace.Scan{trace.NoScan, trace.Interleaved, trace.Burst} {
		requests, workload := trace.WithScans(1, keys, span, scan)
		var own, scanned []uint32
		longest, run := 0, 0
		for _, r := range requests {
			if r < workload {
				own, run = append(own, r), 0
				continue
			}
			scanned = append(scanned, r)
			run++
			longest = max(longest, run)
		}
		if scan == trace.NoScan {
			plain = own
		}
		if !slices.Equal(own, plain) {
			t.Errorf("scan %d changes the workload", scan)
		}
		slices.Sort(scanned)
		if n := len(slices.Compact(slices.Clone(scanned))); n != len(scanned) {
			t.Errorf("scan %d: of %d keys only %d are distinct", scan, len(scanned), n)
		}
		wantKeys, wantRun := 5*span, 1
		switch scan {
		case trace.NoScan:
			wantKeys, wantRun = 0, 0
		case trace.Interleaved:
			wantKeys = 5 * min(span, 20*keys/5)
		case trace.Burst:
			wantRun = span
		}
		if longest != wantRun || len(scanned) < wantKeys*4/5 || len(scanned) > wantKeys {
			t.Errorf("scan %d: %d keys, %d at once; want %d, %d", scan, len(scanned), longest, wantKeys, wantRun)
		}
	}
}

func TestSizes(t *testing.T) {
	tr := &trace.Trace{Distinct: 10_000}
	sizes := tr.Sizes(1, 64, 64<<10)
	if !slices.Equal(sizes, tr.Sizes(1, 64, 64<<10)) {
		t.Error("the same seed makes other sizes")
	}
	slices.Sort(sizes)
	if sizes[0] < 64 || sizes[len(sizes)-1] > 64<<10 || sizes[len(sizes)/2] < 1800 || sizes[len(sizes)/2] > 2300 {
		t.Errorf("sizes from %d to %d, median %d", sizes[0], sizes[len(sizes)-1], sizes[len(sizes)/2])
	}
}

func TestFirst(t *testing.T) {
	tr := &trace.Trace{Name: "t", Requests: []uint32{0, 1, 0, 2}, Distinct: 3}
	for n, want := range map[int]int{1: 1, 3: 2, 4: 3, 9: 3} {
		if got := tr.First(n); got.Distinct != want || len(got.Requests) != min(n, 4) || got.Name != "t" {
			t.Errorf("First(%d) = %+v, want %d distinct", n, got, want)
		}
	}
}
