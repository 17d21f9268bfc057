//go:build unix

package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// TestScripts runs the transcripts in testdata/script. Besides testscript's own
// commands they have
//
//	freeport NAME...            sets each variable to a free port
//	freeports NAME N            sets it to the first of N free ports in a row, and
//	                            NAME_1 and so on to those after it
//	waitready ADDR...           waits until each process is ready
//	waitcluster PORT            waits until a cluster on this machine can be changed
//	http METHOD URL [HEADER|@BODY]...
//	                            the body goes to stdout, status and headers to stderr
//	value TEXT                  compares stdout with TEXT, byte by byte
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(geecache)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("GORACE", raceOptions)
			env.Setenv("XDG_RUNTIME_DIR", "") // the scripts' clusters do not see each other
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport": cmdFreePort, "freeports": cmdFreePorts, "waitready": cmdWaitReady, "waitcluster": cmdWaitCluster,
			"http": cmdHTTP, "value": cmdValue,
		},
	})
}

func cmdFreePort(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		port, err := freePort()
		ts.Check(err)
		ts.Setenv(name, strconv.Itoa(port))
	}
}

func cmdFreePorts(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: freeports NAME N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	first, err := freeRange(n)
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(first))
	for i := 1; i < n; i++ {
		ts.Setenv(fmt.Sprintf("%s_%d", args[0], i), strconv.Itoa(first+i))
	}
}

func cmdWaitReady(ts *testscript.TestScript, _ bool, args []string) {
	for _, addr := range args {
		ts.Check(poll(patience, func() error {
			status, body, err := get("http://" + addr + "/readyz")
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("%s: %d: %s", addr, status, body)
			}
			return err
		}))
	}
}

func cmdWaitCluster(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: waitcluster PORT")
	}
	ts.Check(poll(patience, func() error { return ts.Exec("geecache", "cluster", "list", "--port", args[0]) }))
}

func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: http METHOD URL [HEADER|@BODY]...")
	}
	var body io.Reader = http.NoBody
	headers := make(http.Header)
	for _, arg := range args[2:] {
		if text, ok := strings.CutPrefix(arg, "@"); ok {
			body = strings.NewReader(text)
			continue
		}
		name, value, ok := strings.Cut(arg, ": ")
		if !ok {
			ts.Fatalf("%q is neither 'Name: value' nor @BODY", arg)
		}
		headers.Set(name, value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, args[0], args[1], body)
	ts.Check(err)
	req.Header = headers
	resp, err := client.Do(req)
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stderr(), "%s\n", resp.Status)
	ts.Check(resp.Header.Write(ts.Stderr()))
}

func cmdValue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: value TEXT")
	}
	if got := ts.ReadFile("stdout"); got != args[0] {
		ts.Fatalf("stdout is %q, want %q", got, args[0])
	}
}
