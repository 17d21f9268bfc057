package judge

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/loadgen"
)

// reportWithin bounds how long the load tool may take to end when it is told to.
const reportWithin = 30 * time.Second

// inOwnProcess returns a generator that is `geecache load`, so that what this process does
// beside is nothing to it, and with real-time scheduling where that is permitted: on a
// machine on which all nodes run, too, it would be late without. program is geecache's file.
func inOwnProcess(program string) generator {
	return func(ctx context.Context, o order, tell func(line string)) (s sent, err error) {
		dir, err := envbench.TempDir("load")
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		flags, err := o.flags(dir)
		if err != nil {
			return s, err
		}
		file := filepath.Join(dir, "result.json")
		cmd := exec.CommandContext(ctx, program, append([]string{"load", "--realtime", "--json=" + file}, flags...)...)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = reportWithin
		cmd.SysProcAttr = ownProcess()
		cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "GEECACHE_API_TOKEN=") })
		complaint, err := telling(cmd, tell)
		// Its status says how good the target is, or that it has been killed: what counts is
		// whether there is a whole result.
		if e := s.read(file, o.search != nil); e != nil {
			return s, fmt.Errorf("geecache load: %w: %s", cmp.Or(err, e), complaint)
		}
		return s, nil
	}
}

// telling runs a command, tells each line of its standard error, and returns the last one
// in which it complains.
func telling(cmd *exec.Cmd, tell func(line string)) (complaint string, err error) {
	// What dies with its parent dies with the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, w := io.Pipe()
	cmd.Stderr = w
	told := make(chan struct{})
	go func() {
		defer close(told)
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "geecache: ") {
				complaint = lines.Text()
			}
			tell(lines.Text())
		}
		_, _ = io.Copy(io.Discard, r) // after a line that is too long
	}()
	err = cmd.Run()
	_ = w.Close() // never fails
	<-told
	return complaint, err
}

// read reads what the load tool has written.
func (s *sent) read(file string, search bool) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if search {
		s.found = new(loadgen.MaxRate)
		return json.Unmarshal(data, s.found)
	}
	s.result = new(loadgen.Result)
	return json.Unmarshal(data, s.result)
}

// writeValues writes keys and their values as `geecache load --expect file:PATH` reads them.
func writeValues(file string, values map[string]string) error {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"key", "value"}) // a bytes.Buffer does not fail
	for _, key := range slices.Sorted(maps.Keys(values)) {
		_ = w.Write([]string{key, values[key]})
	}
	w.Flush()
	return os.WriteFile(file, b.Bytes(), 0o600)
}
