package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/geecache"
)

// runLine runs a command line in this process.
func runLine(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	status = Run(t.Context(), args, strings.NewReader(""), &o, &e)
	return status, o.String(), e.String()
}

func TestBriefArgs(t *testing.T) {
	const peers = "--peers=127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003"
	for line, want := range map[string]string{
		"":                           "",
		"node --port 1":              "node --port 1",
		"-port=8001":                 "node " + peers + " --port=8001",
		"-port 8002 -api":            "node " + peers + " --port 8002 --api",
		"-port=8003 -api=1":          "node " + peers + " --port=8003 --api=1",
		"--port=8001 --api":          "node " + peers + " --port=8001 --api",
		"-api":                       "node " + peers + " --api",
		"-port=8001 -peers=a:1":      "node --port=8001 --peers=a:1",
		"-port=7000":                 "node --port=7000",
		"-port 7000":                 "node --port 7000",
		"-prot=8001":                 "node " + peers + " --prot=8001",
		"-h":                         "--help",
		"--help":                     "--help",
		"-version":                   "version",
		"--":                         "--",
		"-":                          "-",
		"cluster -nodes 3":           "cluster -nodes 3",
		"-port=8001 -log-level warn": "node " + peers + " --port=8001 --log-level warn",
	} {
		if got := strings.Join(flagsAlone(strings.Fields(line)), " "); got != want {
			t.Errorf("%q is read as %q, want %q", line, got, want)
		}
	}
	t.Setenv("GEECACHE_PEERS", "a:1")
	if got := flagsAlone([]string{"-port=8001"}); !slices.Equal(got, []string{"node", "--port=8001"}) {
		t.Errorf("with peers in the environment: %q", got)
	}
}

func TestBriefPortFromEnvironment(t *testing.T) {
	t.Setenv("GEECACHE_PORT", "7000")
	if got := flagsAlone([]string{"-api"}); !slices.Equal(got, []string{"node", "--api"}) {
		t.Errorf("%q", got)
	}
}

func TestNonsenseIsRefusedWithARemedy(t *testing.T) {
	for line, says := range map[string]string{
		"clutser":                     "did you mean cluster?",
		"node --chache-bytes 1":       "did you mean --cache-bytes?",
		"node --port x":               `--port is "x": use a number`,
		"node --api=x":                "use true or false",
		"node --ttl 5":                "use a duration",
		"node --ttl -5s":              "--ttl is -5s",
		"node --hot-ttl 0s":           "--hot-ttl is 0s",
		"node --cache-bytes 0":        "--cache-bytes is 0",
		"node --api-max-inflight 0":   "--api-max-inflight is 0",
		"node --not-found-ttl -1s":    "--not-found-ttl is -1s",
		"node --role boss":            "use node or client",
		"node --log-format xml":       "use text or json",
		"node --log-level loud":       "use debug, info, warn or error",
		"node --listen ::1:2:x/":      "use host:port",
		"node --listen :1 --port 2":   "leave one of them out",
		"node --port 70000":           "--port is 70000",
		"node --listen 10.0.0.1:1":    "--insecure",
		"node --weight x":             "use a number such as 1.5",
		"node extra":                  "takes no arguments",
		"cluster --nodes 65":          "use 1 to 64",
		"cluster --port 65534":        "room for 3 nodes",
		"cluster --api 70000":         "--api is 70000",
		"cluster --api 8002":          "the nodes use the ports 8001 to 8003",
		"cluster --source ftp://x":    "--source",
		"cluster --query x":           "--query",
		"cluster --drain-timeout 0s":  "--drain-timeout",
		"health --timeout 0s":         "--timeout is 0s",
		"health extra":                "takes no arguments",
		"version --jsno":              "did you mean --json?",
		"cert ca --name=":             `--name is ""`,
		"cert node --host a --name .": `--name is "."`,
		"cert node --host a,b:8001":   `--host: "b:8001" has the port "8001"`,
		"completion --no-descrptions": "unknown flag",
	} {
		status, out, errOut := runLine(t, strings.Fields(line)...)
		if status != exitUsage || !strings.Contains(errOut, says) || out != "" {
			t.Errorf("%s: status %d, %q should say %q; output %q", line, status, errOut, says, out)
		}
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	status, out, _ := runLine(t)
	if status != exitOK {
		t.Fatalf("status %d", status)
	}
	for _, name := range []string{"cluster", "node", "get", "ring", "stats", "top", "slowdb", "load", "health", "version", "completion"} {
		if !strings.Contains(out, "\n  "+name+" ") {
			t.Errorf("the help does not name %s", name)
		}
	}
}

func TestCompletionOfWords(t *testing.T) {
	status, out, _ := runLine(t, "__complete", "node", "--role", "")
	if status != exitOK || !strings.Contains(out, "node\nclient\n") {
		t.Errorf("status %d: %q", status, out)
	}
}

func TestVersion(t *testing.T) {
	status, out, _ := runLine(t, "version")
	if status != exitOK || !strings.HasPrefix(out, "geecache ") || !strings.Contains(out, "protocol 1.") {
		t.Errorf("status %d: %q", status, out)
	}
	status, out, _ = runLine(t, "version", "--json")
	var v versionInfo
	if err := json.Unmarshal([]byte(out), &v); status != exitOK || err != nil || v.Go == "" || v.Protocol == "" {
		t.Errorf("status %d: %q, %v", status, out, err)
	}
}

func TestHealth(t *testing.T) {
	ready := true
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" && !ready {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("fine\n"))
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	if status, out, errOut := runLine(t, "health", "--addr", addr); status != exitOK || out != "fine\n" {
		t.Errorf("status %d: %q %q", status, out, errOut)
	}
	ready = false
	if status, _, errOut := runLine(t, "health", "--ready", "--addr", addr); status != exitError || !strings.Contains(errOut, "draining") {
		t.Errorf("not ready: status %d: %q", status, errOut)
	}
	s.Close()
	if status, _, errOut := runLine(t, "health", "--addr", addr); status != exitError || !strings.Contains(errOut, "refused") {
		t.Errorf("nobody there: status %d: %q", status, errOut)
	}
}

func TestLocalAddr(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "127.0.0.1:8001"},
		{map[string]string{"GEECACHE_PORT": "1"}, "127.0.0.1:1"},
		{map[string]string{"GEECACHE_LISTEN": "0.0.0.0:2", "GEECACHE_PORT": "1"}, "127.0.0.1:2"},
		{map[string]string{"GEECACHE_LISTEN": "0.0.0.0"}, "127.0.0.1:8001"},
		{map[string]string{"GEECACHE_LISTEN": "10.0.0.1:2"}, "10.0.0.1:2"},
		{map[string]string{"GEECACHE_LISTEN": "10.0.0.1", "GEECACHE_PORT": "3"}, "10.0.0.1:3"},
		{map[string]string{"GEECACHE_ROLE": "client"}, "127.0.0.1:9999"},
	} {
		if got := localAddr(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %s, want %s", c.env, got, c.want)
		}
	}
}

// The node's flags end up in its configuration.
func TestNodeConfig(t *testing.T) {
	parse := func(args ...string) *nodeFlags {
		t.Helper()
		f := new(nodeFlags)
		cmd := &cobra.Command{Use: "node"}
		f.register(cmd)
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		return f
	}
	cfg, err := parse().nodeConfig(nil)
	if err != nil || cfg.Listen != "127.0.0.1:8001" || cfg.APIListen != "" || cfg.Group.HotTTL <= 0 || cfg.Group.NotFoundTTL <= 0 {
		t.Errorf("defaults: %+v, %v", cfg, err)
	}
	cfg, err = parse("--hot-copies=false", "--not-found-ttl=0s", "--api", "--group=a", "--group=b", "--listen=127.0.0.1", "--port=5").nodeConfig(nil)
	if err != nil || cfg.Group.HotTTL >= 0 || cfg.Group.NotFoundTTL >= 0 || cfg.APIListen != "127.0.0.1:9999" ||
		!slices.Equal(cfg.Groups, []string{"a", "b"}) || cfg.Listen != "127.0.0.1:5" {
		t.Errorf("%+v, %v", cfg, err)
	}
	cfg, err = parse("--role=client", "--peers=127.0.0.1:1").nodeConfig(nil)
	if err != nil || cfg.Role != geecache.RoleClient || cfg.Listen != "127.0.0.1:9999" || len(cfg.Peers) != 1 {
		t.Errorf("a client: %+v, %v", cfg, err)
	}
}

func TestRunEndsANodeWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out, errOut bytes.Buffer
	done := make(chan int)
	go func() {
		done <- Run(ctx, []string{"node", "--port", "0", "--listen", "127.0.0.1:0"}, nil, &out, &errOut)
	}()
	cancel()
	if status := <-done; status != exitOK {
		t.Errorf("status %d: %s", status, errOut.String())
	}
}
