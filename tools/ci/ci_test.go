//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestEverySetNamesKnownSteps(t *testing.T) {
	for _, s := range sets() {
		chosen, err := choose([]string{s.name})
		if err != nil {
			t.Errorf("set %s: %v", s.name, err)
		}
		if len(chosen) != len(s.steps) {
			t.Errorf("set %s has %d steps, want %d", s.name, len(chosen), len(s.steps))
		}
	}
	for _, s := range allSteps() {
		if s.name == "" || s.what == "" || s.remedy == "" || s.run == nil {
			t.Errorf("step %q is not complete", s.name)
		}
	}
	if _, err := choose([]string{"no-such-step"}); err == nil || !strings.Contains(err.Error(), "no-such-step") {
		t.Errorf("choose of an unknown step: %v, want an error that names it", err)
	}
	if _, err := choose(nil); err == nil {
		t.Error("choose of nothing succeeded")
	}
}

func TestRunStepsStopsAtTheFirstFailure(t *testing.T) {
	var ran []string
	note := func(name string, err error) step {
		return step{name, "test", "mend " + name, func(context.Context, *workspace) error {
			ran = append(ran, name)
			return err
		}}
	}
	var out bytes.Buffer
	w := newWorkspace(t.TempDir(), &out)
	broken := errors.New("broken")
	err := runSteps(t.Context(), w, []step{note("a", nil), note("b", broken), note("c", nil)})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), `"b"`) || !strings.Contains(err.Error(), "mend b") {
		t.Errorf("error %v, want one that names step b and its remedy", err)
	}
	if want := []string{"a", "b"}; !reflect.DeepEqual(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
}

func TestCleanupRunsNewestFirst(t *testing.T) {
	var order []int
	w := newWorkspace(t.TempDir(), &bytes.Buffer{})
	for i := range 3 {
		w.cleanup = append(w.cleanup, func() { order = append(order, i) })
	}
	w.close()
	w.close()
	if want := []int{2, 1, 0}; !reflect.DeepEqual(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestPrintTests(t *testing.T) {
	const events = `
{"Action":"build-output","ImportPath":"m/x","Output":"x.go:1: does not compile\n"}
{"Action":"start","Package":"m/good"}
{"Action":"output","Package":"m/good","Test":"TestA","Output":"chatter of a passing test\n"}
{"Action":"pass","Package":"m/good","Test":"TestA"}
{"Action":"output","Package":"m/good","Test":"TestB/sub","Output":"    b.go:1: no server\n"}
{"Action":"skip","Package":"m/good","Test":"TestB/sub"}
{"Action":"output","Package":"m/good","Output":"PASS\n"}
{"Action":"output","Package":"m/good","Output":"ok  \tm/good\t0.1s\n"}
{"Action":"pass","Package":"m/good"}
{"Action":"output","Package":"m/none","Output":"?   \tm/none\t[no test files]\n"}
{"Action":"skip","Package":"m/none"}
{"Action":"output","Package":"m/bad","Output":"-test.shuffle 42\n"}
{"Action":"output","Package":"m/bad","Test":"TestC","Output":"quiet\n"}
{"Action":"pass","Package":"m/bad","Test":"TestC"}
{"Action":"output","Package":"m/bad","Test":"TestD","Output":"=== RUN   TestD\n"}
{"Action":"output","Package":"m/bad","Test":"TestD","Output":"    d.go:1: wrong\n"}
{"Action":"fail","Package":"m/bad","Test":"TestD"}
{"Action":"output","Package":"m/bad","Test":"TestE","Output":"panic: unfinished\n"}
{"Action":"output","Package":"m/bad","Output":"FAIL\tm/bad\t0.1s\n"}
{"Action":"fail","Package":"m/bad"}
`
	const want = "x.go:1: does not compile\n" +
		"ok  \tm/good\t0.1s\n" +
		"?   \tm/none\t[no test files]\n" +
		"-test.shuffle 42\n    d.go:1: wrong\npanic: unfinished\nFAIL\tm/bad\t0.1s\n"
	var out bytes.Buffer
	skipped, err := printTests(strings.NewReader(events), &out)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("printed:\n%s\nwant:\n%s", out.String(), want)
	}
	if want := map[string][]string{"m/good": {"TestB/sub"}}; !reflect.DeepEqual(skipped, want) {
		t.Errorf("skipped %v, want %v", skipped, want)
	}
	if _, err := printTests(strings.NewReader(`{"Action":"start"} not JSON`), &out); err == nil {
		t.Error("no error for what is not JSON")
	}
}

// What race leaves to sockets must run there.
func TestWhatRaceLeavesToSockets(t *testing.T) {
	for pkg, want := range map[string]bool{
		"github.com/geecache/geecache":               false,
		"github.com/geecache/geecache/geecache":      true,
		"github.com/geecache/geecache/geecachepb":    false,
		"github.com/geecache/geecache/internal/node": true,
		"github.com/geecache/geecache/e2e":           true,
		"github.com/geecache/geecache/lru":           false,
	} {
		if got := inSockets(pkg); got != want {
			t.Errorf("%s: %v, want %v", pkg, got, want)
		}
	}
	for _, s := range sets() {
		if slices.Contains(s.steps, "race") && !slices.Contains(s.steps, "sockets") {
			t.Errorf("set %s has step race, and not sockets", s.name)
		}
	}
}

// fakeGo puts a program in the place of go, which is a shell script.
func fakeGo(t *testing.T, w *workspace, script string) {
	t.Helper()
	write(t, w.path("bin/go"), "#!/bin/sh\n"+script)
	if err := os.Chmod(w.path("bin/go"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// Each package is compiled once, before its targets compete for that.
func TestDecodersAreBuiltFirst(t *testing.T) {
	w := tree(t, map[string]string{
		"geecache/a_test.go": "func FuzzA(f *testing.F) {\n}\nfunc FuzzB(f *testing.F) {\n}\n",
		"snapshot/c_test.go": "func FuzzC(f *testing.F) {\n}\n",
		"lru/d_test.go":      "func FuzzD(f *testing.F) {\n}\n",
	})
	fakeGo(t, w, `echo "$*" >>calls; echo ok`)
	if err := fuzzDecoders(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(w.path("calls"))
	if err != nil {
		t.Fatal(err)
	}
	calls := strings.Split(strings.TrimSpace(string(data)), "\n")
	slices.Sort(calls[2:])
	want := []string{
		"test -vet=off -run=^$ -fuzz=^$ -fuzztime=1x ./geecache",
		"test -vet=off -run=^$ -fuzz=^$ -fuzztime=1x ./snapshot",
		"test -vet=off -run=^$ -fuzz=^FuzzA$ -fuzztime=60s ./geecache -parallel=1",
		"test -vet=off -run=^$ -fuzz=^FuzzB$ -fuzztime=60s ./geecache -parallel=1",
		"test -vet=off -run=^$ -fuzz=^FuzzC$ -fuzztime=60s ./snapshot -parallel=1",
	}
	if !slices.Equal(calls, want) {
		t.Errorf("calls of go:\n%s\nwant:\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
	}
	fakeGo(t, w, "echo does not compile; exit 1")
	out := w.out.(*bytes.Buffer)
	out.Reset()
	if err := fuzzDecoders(t.Context(), w); err == nil || !strings.Contains(err.Error(), "geecache") {
		t.Errorf("error %v, want one that names the package", err)
	}
	if strings.Count(out.String(), "does not compile") != 1 {
		t.Errorf("printed:\n%s\nwant what the compiler says, once", out)
	}
}

// A target waits for two others, so three must run at a time; the first ends last. The
// reports are in order all the same, and one failure does not keep others from running.
func TestFuzzTogether(t *testing.T) {
	w := tree(t, nil)
	fakeGo(t, w, `
case $4 in
*A*) until test -e b.ended && test -e c.ended; do sleep 0.01; done; echo chatter; echo ok A ;;
*B*) echo the failing input of B; touch b.ended; exit 1 ;;
*C*) touch c.ended; echo ok C ;;
*D*) echo ok D ;;
esac
`)
	all := []target{{"p/a_test.go", "FuzzA"}, {"p/b_test.go", "FuzzB"}, {"q/c_test.go", "FuzzC"}, {"q/d_test.go", "FuzzD"}}
	err := fuzzTogether(t.Context(), w, all, 3)
	if err == nil || !strings.Contains(err.Error(), "p/b_test.go: FuzzB") || strings.Count(err.Error(), "Fuzz") != 1 {
		t.Errorf("error %v, want one that names FuzzB alone", err)
	}
	var said []string
	for line := range strings.Lines(w.out.(*bytes.Buffer).String()) {
		if !strings.HasPrefix(line, "$ ") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	if want := []string{"ok A", "the failing input of B", "ok C", "ok D"}; !slices.Equal(said, want) {
		t.Errorf("printed %q, want %q", said, want)
	}
}

func TestTopLevel(t *testing.T) {
	got := topLevel([]string{"TestB/x", "TestA", "TestB/y/z"})
	if want := []string{"TestA", "TestB"}; !reflect.DeepEqual(got, want) {
		t.Errorf("topLevel = %v, want %v", got, want)
	}
}

func TestFilesLeavesOutWhatIsNotTheProjects(t *testing.T) {
	w := tree(t, map[string]string{
		"a.go": "", "x/b.go": "", "x/testdata/c.go": "", "bin/d.go": "", ".git/e.go": "", ".github/f.go": "",
	})
	got, err := w.files(func(p string) bool { return strings.HasSuffix(p, ".go") })
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{".github/f.go", "a.go", "x/b.go"}; !reflect.DeepEqual(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

func TestIsShell(t *testing.T) {
	w := tree(t, map[string]string{
		"a.sh": "", "b": "#!/usr/bin/env bash\n", "c": "#!/bin/sh\n", "d": "#!/usr/bin/env python3\n", "e.go": "#!/bin/sh\n", "f": "",
	})
	got, err := w.files(isShell(w))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.sh", "b", "c"}; !reflect.DeepEqual(got, want) {
		t.Errorf("scripts %v, want %v", got, want)
	}
}

// The digest must change with everything that decides what is generated.
func TestGenerationDigest(t *testing.T) {
	files := map[string]string{
		"buf.yaml": "version: v2\n", "buf.gen.yaml": "version: v2\n", "p/p.proto": "message A {}\n", "p/p.pb.go": "package p\n",
		"tools/go.mod":     "require (\n\tgoogle.golang.org/protobuf v1.0.0 // indirect\n\tgoogle.golang.org/grpc/cmd/protoc-gen-go-grpc v1.0.0\n)\n",
		"tools/buf/go.mod": "require github.com/bufbuild/buf v1.0.0\n",
	}
	w := tree(t, files)
	before, err := generationDigest(w)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		changed := strings.Replace(content+"// x\n", "v1.0.0", "v1.0.1", 1)
		write(t, w.path(name), changed)
		after, err := generationDigest(w)
		if err != nil {
			t.Fatal(err)
		}
		if after == before {
			t.Errorf("a change of %s does not change the digest", name)
		}
		write(t, w.path(name), content)
	}
	write(t, w.path("unrelated.go"), "package x\n")
	if after, err := generationDigest(w); err != nil || after != before {
		t.Errorf("an unrelated file changes the digest, or fails: %v", err)
	}
	write(t, w.path("tools/buf/go.mod"), "module x\n")
	if _, err := generationDigest(w); err == nil || !strings.Contains(err.Error(), "bufbuild/buf") {
		t.Errorf("without a version of buf: %v, want an error that names it", err)
	}
}

func TestCompareTrees(t *testing.T) {
	w := tree(t, map[string]string{"same.pb.go": "1", "stale.pb.go": "2", "orphan.pb.go": "3"})
	fresh := tree(t, map[string]string{"same.pb.go": "1", "stale.pb.go": "new", "missing.pb.go": "4"})
	inTree, _ := w.files(isGenerated)
	inFresh, _ := fresh.files(isGenerated)
	err := compareTrees(w, inTree, fresh, inFresh)
	if err == nil {
		t.Fatal("different trees compare as the same")
	}
	for _, want := range []string{"stale.pb.go: stale", "orphan.pb.go: no .proto", "missing.pb.go: missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "same.pb.go") {
		t.Errorf("error %q names a file that is current", err)
	}
	if err := compareTrees(fresh, inFresh, fresh, inFresh); err != nil {
		t.Errorf("a tree differs from itself: %v", err)
	}
}

// tree makes a workspace that holds files, by their slash-separated paths.
func tree(t *testing.T, files map[string]string) *workspace {
	t.Helper()
	w := newWorkspace(t.TempDir(), &bytes.Buffer{})
	for name, content := range files {
		write(t, w.path(name), content)
	}
	return w
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
