package figures

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func registry(t *testing.T) *Registry {
	t.Helper()
	r, err := Load(filepath.Join(root, "docs", "figures.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every figure in the documents has a source that says the same.
func TestEveryFigureHasASource(t *testing.T) {
	for _, complaint := range registry(t).Check(root) {
		t.Error(complaint)
	}
}

// A figure that somebody adds without a source is found, wherever it stands.
func TestAPlantedFigureIsFound(t *testing.T) {
	r := registry(t)
	for _, name := range []string{"README.md", "DEPLOYMENT.md", "docs/ENGINE.md"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		before := r.checkDocument(root, name, string(text))
		for _, planted := range []string{
			"\nA lookup takes 7.31 ms here.\n", "\nIt is 73 times faster.\n", "\nIt costs $7.31.\n", "\nIt costs 7.31 USD.\n", "\nIt serves 731k/s.\n",
			"\n| what | ms |\n|---|---|\n| lookup | 7.31 |\n", "\n| what | here |\n|---|---|\n| lookup, ms | 7.31 |\n", "\n| what | here |\n|---|---|\n| lookup | 7.31 ms |\n",
			"\n    make it   # takes 73 minutes\n", "\n- a heap of 7.31 MiB\n", "\nIt took 5 to\n73 s.\n", "\nA hit ratio of 73.1%.\n",
			"\nIt takes seven seconds.\n", "\nIt takes half a minute.\n", "\nIt is ten times faster.\n", "\nIt is twice as fast.\n", "\nIt is two orders of magnitude faster.\n",
			"\nIt is faster by a factor of 73.1.\n", "\nIt takes 7.31&nbsp;ms.\n", "\nIt takes 7.31\u202fms.\n", "\nIt takes <b>7.31</b> ms.\n", "\nIt takes *7.31* ms.\n",
			"\nIt takes `7.31 ms`.\n", "\nIt takes `7.31` ms.\n", "\nIt takes 7.31e3 ms.\n", "\nIt serves 731 requests per second.\n", "\nIt serves 7.31 million requests a second.\n",
			"\nIt sends 7.31 Mbit/s.\n", "\nIt costs €7.31.\n", "\nIt costs 7.31 $/h.\n", "\nA key takes 731 bytes.\n", "\n| what | rate, 1/s |\n|---|---|\n| lookup | 7.31 |\n",
			"\n| what | here, $ |\n|---|---|\n| lookup | 7.31 |\n",
		} {
			after := r.checkDocument(root, name, string(text)+planted)
			if len(after) <= len(before) {
				t.Errorf("%s: %q, planted, is not found", name, planted)
			}
		}
	}
}

func TestFind(t *testing.T) {
	tests := []struct {
		markdown string
		want     []string
	}{
		{"It takes 50 ms, or 1.5 s.", []string{"50 ms", "1.5 s"}},
		{"from 10 to 50 ms, 1-5 ms", []string{"10 to 50 ms", "1-5 ms"}},
		{"1,234 times, 2x, 3 ×, 40%, 99.9 %", []string{"1,234 times", "2x", "3 ×", "40%", "99.9 %"}},
		{"$0.20 and 0.20 USD and USD 3", []string{"$0.20 and 0.20 USD", "USD 3"}},
		{"25k/s, 20 requests/s, 64 KiB, 10s", []string{"25k/s", "20 requests/s", "64 KiB", "10s"}},
		{"a 6-second sleep over\n30\nminutes", []string{"6-second", "30 minutes"}},
		{"version 1.26, 1.5.33, HTTP/1.1, p99, port 9999, 3 nodes, SHA256, x86, 4xx, 5 seconded", nil},
		{"`sleep 5s` and [x](y-5ms.md) and <!-- 5 ms -->", nil},
		{"`5 ms`, *6* ms, <b>7</b> ms, 8&nbsp;ms, 1e-3 s", []string{"5 ms", "6* ms", "7</b> ms", "8&nbsp;ms", "1e-3 s"}},
		{"two seconds, half an hour, ten times, twice as fast; twice, two nodes, ten keys", []string{"two seconds", "half an hour", "ten times", "twice as"}},
		{"| a | rate, 1/s |\n|---|---|\n| x | 12 |\n", []string{"12 1/s"}},
		{"\n    sleep 5s\n    make # 7 s\n", []string{"7 s"}},
		{"```sh\nsleep 5s\nmake # 7 s\n```\n8 s", []string{"7 s", "8 s"}},
		{"| a | time, s |\n|---|---|\n| x | 12 (11 to 13) |\n", []string{"12 s", "11 s", "13 s"}},
		{"| a | here |\n|---|---|\n| size, MiB | 12 |\n| nodes | 3 |\n", []string{"12 MiB"}},
		{"| limit of 5 s | n |\n|---|---|\n| y | 3 |\n", []string{"5 s"}},
	}
	for _, tt := range tests {
		var got []string
		for _, f := range Find(tt.markdown) {
			got = append(got, f.Text)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("Find(%q) = %q, want %q", tt.markdown, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("A.md", "It waits for 5 s. A metric costs 0.30 USD. It is 2.20 times as fast.\n<!-- t: begin -->\n9 ms\n<!-- t: end -->\n")
	put("a.go", "package a\n\nconst wait   = 5 * time.Second\n")
	put("a.svg", "<svg width=\"7ms\"><style> .a { x: 6s }\n</style><text>takes 8 ms</text></svg>\n")
	put("L.md", "The length is 4 bytes.\n")
	put("a_test.go", "func TestT(t *testing.T) {}")
	put("benchmarks/results/2026-01-01-s.json", `{"groups":[{"name":"g","points":[{"name":"","series":[{"subject":"we","unit":"u","samples":[1.1,2.204,3]}]}]}]}`)
	good := func() *Registry {
		return &Registry{
			Documents: []string{"*.md"}, Layouts: []string{"L.md"}, Generated: []Generated{{In: "A.md", Block: "t", Test: "a_test.go", Name: "TestT"}},
			Figures: []Entry{
				{In: "A.md", Says: "waits for 5 s", From: []Source{{Code: "a.go", Is: "wait = 5 * time.Second"}}},
				{In: "A.md", Says: "costs 0.30 USD", From: []Source{{Price: "CloudWatch metric, month"}}},
				{In: "A.md", Says: "is 2.20 times", From: []Source{{Bench: &Bench{"s", "g", "", "we", "u"}}}},
			},
		}
	}
	tests := []struct {
		name   string
		change func(*Registry)
		want   string // in a complaint; empty for none
	}{
		{"as it is", func(*Registry) {}, ""},
		{"an entry is missing", func(r *Registry) { r.Figures = r.Figures[1:] }, `where does "5 s" come from?`},
		{"the constant is another", func(r *Registry) { r.Figures[0].From[0].Is = "wait = 6 * time.Second" }, "a.go does not say"},
		{"the constant is not the figure", func(r *Registry) { r.Figures[0].From[0].Is = "const wait" }, "5 s is not what its source says"},
		{"but there is a reason", func(r *Registry) { r.Figures[0].From[0].Is, r.Figures[0].Why = "const wait", "because" }, ""},
		{"another price", func(r *Registry) { r.Figures[1].From[0].Price = "KMS key, month" }, "is not what its source says"},
		{"no such price", func(r *Registry) { r.Figures[1].From[0].Price = "a house" }, "has no price"},
		{"no such series", func(r *Registry) { r.Figures[2].From[0].Bench.Subject = "they" }, "has no series"},
		{"no such suite", func(r *Registry) { r.Figures[2].From[0].Bench.Suite = "z" }, "no results of the suite"},
		{"the document has changed", func(r *Registry) { r.Figures[0].Says = "waits for 6 s" }, "does not say"},
		{"no figure in it", func(r *Registry) { r.Figures[0].Says = "It waits" }, "no figure in"},
		{"no source", func(r *Registry) { r.Figures[0].From = nil }, "no source"},
		{"an empty source", func(r *Registry) { r.Figures[0].From = []Source{{}} }, "names neither"},
		{"no such document", func(r *Registry) { r.Figures[0].In = "B.md" }, "which is no document"},
		{"no such test", func(r *Registry) { r.Generated[0].Name = "TestX" }, "there is no test TestX"},
		{"no such block", func(r *Registry) { r.Generated[0].Block = "u" }, "there is no block"},
		{"a drawing", func(r *Registry) { r.Documents = append(r.Documents, "*.svg") }, `a.svg: line 2: where does "8 ms" come from?`},
		{"bytes of no layout", func(r *Registry) { r.Layouts = nil }, `L.md: line 1: where does "4 bytes" come from?`},
		{"nothing generated", func(r *Registry) { r.Generated = nil }, `where does "9 ms" come from?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := good()
			tt.change(r)
			got := strings.Join(r.Check(dir), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("complaints: %q, want %q", got, tt.want)
			}
		})
	}
}
