package registrytest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A Server is a program that a test starts, stops and starts again.
type Server struct {
	Path string // of the program; see [Program]
	Args []string
	Addr string // "host:port" where it answers over TCP once it is ready

	cmd *exec.Cmd
	log string
}

// Program returns the path of a server's program. If it is not installed, the test is
// skipped, or fails where the servers are required: in CI, or with
// GEECACHE_TEST_SERVERS=1.
func Program(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	const remedy = "%s is not installed: run scripts/install-deps"
	if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
		t.Fatalf(remedy, name)
	}
	t.Skipf(remedy, name)
	return ""
}

// Start starts the server and waits until it answers. It is stopped when the test ends
// for which it was started first.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.log == "" {
		s.log = filepath.Join(t.TempDir(), "log")
		t.Cleanup(func() { s.Stop(t) })
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(s.Path, s.Args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.ready(); err != nil {
		text, _ := os.ReadFile(s.log)
		t.Fatalf("%s: %v\n%s", s.Path, err, text)
	}
}

func (s *Server) ready() error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
		if err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("it does not answer at %s within %v", s.Addr, patience)
}

// Stop ends the server, if it runs.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(promptly, func() { _ = s.cmd.Process.Kill() })
	_ = s.cmd.Wait() // it was told to end; how it does is no matter
	kill.Stop()
	s.cmd = nil
}
