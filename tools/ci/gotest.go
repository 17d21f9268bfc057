//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// fuzzTime is how long each fuzz target looks for new inputs. Its seeds run as
// tests anyway; this shows that the target still fuzzes.
const fuzzTime = "5s"

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

// servers starts the integration tests' servers and keeps their addresses for
// the steps that follow. The workspace stops them when it closes.
func servers(ctx context.Context, w *workspace) error {
	script := w.path("scripts/test-servers")
	// A state of this run's own: servers that somebody keeps running stay.
	state := filepath.Join(os.TempDir(), fmt.Sprintf("geecache-test-%d", os.Getpid()))
	w.env = append(w.env, "GEECACHE_TEST_STATE="+state)
	w.cleanup = append(w.cleanup, func() {
		fmt.Fprintln(w.out, "=== stopping the servers")
		// The run's own context may have ended already.
		if err := w.do(context.WithoutCancel(ctx), ".", script, "down"); err != nil {
			fmt.Fprintf(w.out, "the servers were not stopped: %v\n", err)
		}
	})
	w.announce(".", nil, script, []string{"up"})
	const addresses = `exports=$("$0" up) && eval "$exports" && env -0`
	out, err := w.output(ctx, ".", "bash", "-c", addresses, script)
	if err != nil {
		return err
	}
	found := 0
	for _, variable := range strings.Split(out, "\x00") {
		if strings.HasPrefix(variable, "GEECACHE_TEST_") {
			w.env = append(w.env, variable)
			found++
		}
	}
	if found == 0 {
		return errors.New("scripts/test-servers up exported no GEECACHE_TEST_ variable")
	}
	// From here on a test that finds no server fails, and does not skip.
	w.env = append(w.env, "GEECACHE_TEST_SERVERS=1")
	return nil
}

// The decoders of what comes from the network are fuzzed for longer, in a few rounds
// of many at a time: together they take as many minutes as there are rounds.
const (
	decoderTime   = "60s"
	decoderRounds = 2
)

// decoders are the directories whose fuzz targets read what comes from outside: the network, or a snapshot.
var decoders = []string{"geecache", "peergrpc", "internal/plain", "registry/gossip", "snapshot"}

// A target is a fuzz target.
type target struct{ file, name string }

// command returns the arguments of go that run it.
func (t target) command(long string) []string {
	return []string{"test", "-vet=off", "-run=^$", "-fuzz=^" + t.name + "$", "-fuzztime=" + long, "./" + path.Dir(t.file)}
}

// targets returns the fuzz targets in the files that keep accepts.
func targets(w *workspace, keep func(file string) bool) ([]target, error) {
	files, err := w.files(func(p string) bool {
		return strings.HasSuffix(p, "_test.go") && !strings.HasPrefix(p, "tools/") && keep(p)
	})
	if err != nil {
		return nil, err
	}
	var found []target
	for _, f := range files {
		src, err := os.ReadFile(w.path(f))
		if err != nil {
			return nil, err
		}
		for _, m := range fuzzTarget.FindAllSubmatch(src, -1) {
			found = append(found, target{f, string(m[1])})
		}
	}
	return found, nil
}

func fuzz(ctx context.Context, w *workspace) error {
	all, err := targets(w, func(string) bool { return true })
	if err != nil {
		return err
	}
	for _, t := range all {
		if err := w.do(ctx, ".", "go", t.command(fuzzTime)...); err != nil {
			return fmt.Errorf("%s: %s: %w", t.file, t.name, err)
		}
	}
	return nil
}

// fuzzDecoders runs the targets that read what comes from the network.
func fuzzDecoders(ctx context.Context, w *workspace) error {
	all, err := targets(w, func(f string) bool { return slices.Contains(decoders, path.Dir(f)) })
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("no fuzz target was found: the walk is broken")
	}
	if err := buildTargets(ctx, w, all); err != nil {
		return err
	}
	width := (len(all) + decoderRounds - 1) / decoderRounds
	return fuzzTogether(ctx, w, all, width)
}

// buildTargets compiles the packages of targets as they are fuzzed, one after the
// other: targets that began together would each compile the same, since go shares
// only what is finished.
func buildTargets(ctx context.Context, w *workspace, all []target) error {
	built := map[string]bool{}
	for _, t := range all {
		dir := path.Dir(t.file)
		if built[dir] {
			continue
		}
		built[dir] = true
		args := target{t.file, ""}.command("1x") // ^$ is the name of none
		var out bytes.Buffer
		cmd := w.command(ctx, ".", "go", args...)
		cmd.Stdout, cmd.Stderr = &out, &out
		w.announce(".", nil, "go", args)
		if err := cmd.Run(); err != nil {
			_, _ = out.WriteTo(w.out)
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

// fuzzTogether runs targets, width at a time and each with one worker. What a target
// says is printed when it and all before it have ended, so that reports are in the order
// of the targets; of one that passes it is the last line.
func fuzzTogether(ctx context.Context, w *workspace, all []target, width int) error {
	type result struct {
		out  bytes.Buffer
		err  error
		done chan struct{}
	}
	results := make([]result, len(all))
	slots := make(chan struct{}, width)
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range results {
		results[i].done = make(chan struct{})
	}
	wg.Go(func() {
		for i, t := range all {
			slots <- struct{}{}
			wg.Go(func() {
				r := &results[i]
				cmd := w.command(ctx, ".", "go", append(t.command(decoderTime), "-parallel=1")...)
				cmd.Stdout, cmd.Stderr = &r.out, &r.out
				r.err = cmd.Run()
				close(r.done)
				<-slots
			})
		}
	})
	var errs []error
	for i, t := range all {
		r := &results[i]
		<-r.done
		w.announce(".", nil, "go", append(t.command(decoderTime), "-parallel=1"))
		if r.err != nil {
			_, _ = r.out.WriteTo(w.out)
			errs = append(errs, fmt.Errorf("%s: %s: %w", t.file, t.name, r.err))
			continue
		}
		fmt.Fprintln(w.out, lastLine(r.out.String()))
	}
	return errors.Join(errs...)
}

// lastLine returns the last line of a text.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// race runs every test, and sees to it that none is skipped: what skips under
// the race detector (a count of allocations, say) is for step sockets if that has its
// package. If not it runs again here, and what skips there too has not run at all.
func race(ctx context.Context, w *workspace) error {
	skipped, err := goTest(ctx, w, "-race", "-shuffle=on", "-timeout=20m", "./...")
	if err != nil {
		return err
	}
	var never []string
	for _, pkg := range slices.Sorted(maps.Keys(skipped)) {
		names := topLevel(skipped[pkg])
		if inSockets(pkg) {
			fmt.Fprintf(w.out, "skipped with the race detector, so left to step sockets: %s in %s\n", strings.Join(names, ", "), pkg)
			continue
		}
		fmt.Fprintf(w.out, "skipped with the race detector, so once more without: %s in %s\n", strings.Join(names, ", "), pkg)
		again, err := goTest(ctx, w, "-run=^("+strings.Join(names, "|")+")$", pkg)
		if err != nil {
			return err
		}
		for _, name := range again[pkg] {
			never = append(never, pkg+": "+name)
		}
	}
	return noneSkip(never)
}

// socketPackages are what step sockets tests.
var socketPackages = []string{"./geecache", "./internal/...", "./e2e"}

// inSockets reports whether a package, by its import path, is one of them.
func inSockets(pkg string) bool {
	dir := "." + strings.TrimPrefix(pkg, "github.com/geecache/geecache")
	return slices.ContainsFunc(socketPackages, func(pattern string) bool {
		below, all := strings.CutSuffix(pattern, "...")
		return dir == pattern || all && strings.HasPrefix(dir, below)
	})
}

// sockets runs the tests of what uses internal/socket, which does nothing under
// the race detector, and those that race leaves to it. None may skip.
func sockets(ctx context.Context, w *workspace) error {
	skipped, err := goTest(ctx, w, append([]string{"-shuffle=on", "-timeout=20m"}, socketPackages...)...)
	if err != nil {
		return err
	}
	var never []string
	for _, pkg := range slices.Sorted(maps.Keys(skipped)) {
		for _, name := range skipped[pkg] {
			never = append(never, pkg+": "+name)
		}
	}
	return noneSkip(never)
}

// chaos runs the scenarios that break a cluster under load. Without a package's name go
// test shows what they print, which is a table.
func chaos(ctx context.Context, w *workspace) error {
	return w.do(ctx, "e2e", "go", "test", "-tags=chaos", "-run=^TestChaos$", "-timeout=30m")
}

// chaosFull gives each of them as long as a night has.
func chaosFull(ctx context.Context, w *workspace) error {
	return w.doEnv(ctx, "e2e", []string{"GEECACHE_E2E_FULL=1"}, "go", "test", "-tags=chaos", "-run=^TestChaos$", "-timeout=60m")
}

func noneSkip(tests []string) error {
	if len(tests) > 0 {
		return fmt.Errorf("these tests skip, so nobody runs them:\n  %s", strings.Join(tests, "\n  "))
	}
	return nil
}

// topLevel returns the distinct tests that the subtests in names belong to.
func topLevel(names []string) []string {
	var tests []string
	for _, name := range names {
		test, _, _ := strings.Cut(name, "/")
		tests = append(tests, regexp.QuoteMeta(test))
	}
	slices.Sort(tests)
	return slices.Compact(tests)
}

// goTest runs go test, prints what go test without -v prints, and returns the
// names of the skipped tests by package.
func goTest(ctx context.Context, w *workspace, args ...string) (map[string][]string, error) {
	w.announce(".", nil, "go", append([]string{"test"}, args...))
	cmd := w.command(ctx, ".", "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stdout = nil
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	skipped, readErr := printTests(stdout, w.out)
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("go test: %w", err)
	}
	return skipped, readErr
}

// A testEvent is a line of go test -json.
type testEvent struct {
	Action, Package, Test, Output string
}

// printTests reads the events of go test -json to their end. Of a package that
// passes it prints the closing line; of one that fails, everything but what its
// passing tests said.
func printTests(events io.Reader, out io.Writer) (skipped map[string][]string, err error) {
	skipped = map[string][]string{}
	said := map[string][]testEvent{}      // by package
	quiet := map[string]map[string]bool{} // by package and test: passed or skipped
	dec := json.NewDecoder(events)
	for {
		var e testEvent
		if err := dec.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) {
				return skipped, nil
			}
			_, _ = io.Copy(out, io.MultiReader(dec.Buffered(), events))
			return skipped, fmt.Errorf("go test -json: %w", err)
		}
		switch {
		case e.Action == "build-output":
			fmt.Fprint(out, e.Output)
		case e.Action == "output":
			said[e.Package] = append(said[e.Package], e)
		case e.Test != "" && (e.Action == "pass" || e.Action == "skip"):
			if quiet[e.Package] == nil {
				quiet[e.Package] = map[string]bool{}
			}
			quiet[e.Package][e.Test] = true
			if e.Action == "skip" {
				skipped[e.Package] = append(skipped[e.Package], e.Test)
			}
		case e.Test == "" && (e.Action == "pass" || e.Action == "skip"):
			printPassed(out, said[e.Package])
			delete(said, e.Package)
		case e.Test == "" && e.Action == "fail":
			printFailed(out, said[e.Package], quiet[e.Package])
			delete(said, e.Package)
		}
	}
}

func printPassed(out io.Writer, events []testEvent) {
	for _, e := range events {
		if e.Test == "" && (strings.HasPrefix(e.Output, "ok ") || strings.HasPrefix(e.Output, "? ")) {
			fmt.Fprint(out, e.Output)
		}
	}
}

func printFailed(out io.Writer, events []testEvent, quiet map[string]bool) {
	var text bytes.Buffer
	for _, e := range events {
		starts := strings.HasPrefix(e.Output, "=== RUN ") || strings.HasPrefix(e.Output, "=== PAUSE") || strings.HasPrefix(e.Output, "=== CONT")
		if !quiet[e.Test] && !starts {
			text.WriteString(e.Output)
		}
	}
	_, _ = text.WriteTo(out)
}
