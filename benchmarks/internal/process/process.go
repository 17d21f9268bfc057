// Package process runs the parts of a measurement that need a process of their
// own: this program again, in a role, or a server of the system. Whatever it
// starts ends with the process that started it, however that one ends.
package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// roleVariable tells a process of this program that it is not the first one.
const roleVariable = "GEECACHE_BENCH_ROLE"

// A Role is what this program does when it is started again: it talks on its
// standard input and output, and ends when its input does.
type Role func(ctx context.Context, args []string, in io.Reader, out io.Writer) error

// Main plays the role that the process was started for, and exits. In the
// first process it returns at once. Call it before anything else in main, and
// in the TestMain of tests that start processes.
func Main(roles map[string]Role) {
	name := os.Getenv(roleVariable)
	if name == "" {
		return
	}
	role := roles[name]
	if role == nil {
		fmt.Fprintf(os.Stderr, "bench: no role %q\n", name)
		os.Exit(2)
	}
	// Children that this one starts have roles of their own.
	if err := os.Unsetenv(roleVariable); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err := role(ctx, os.Args[1:], os.Stdin, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s %s: %v\n", name, strings.Join(os.Args[1:], " "), err)
		os.Exit(1)
	}
	os.Exit(0)
}

// closeTimeout is how long a child may take to end by itself.
const closeTimeout = 10 * time.Second

// A Child is this program in a role.
type Child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// Start starts this program in a role. env is added to its environment.
func Start(ctx context.Context, role string, env []string, args ...string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(append(os.Environ(), env...), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &Child{cmd, in, bufio.NewReader(out)}, nil
}

// Ask sends a value to the child, as a line of JSON, and reads one back.
func (c *Child) Ask(question, answer any) error {
	line, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("the process %s has ended: %w", strings.Join(c.cmd.Args[1:], " "), err)
	}
	return c.Read(answer)
}

// Read reads a value that the child has sent.
func (c *Child) Read(answer any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the process %s has ended without an answer: %w", strings.Join(c.cmd.Args[1:], " "), err)
	}
	return json.Unmarshal(line, answer)
}

// Close ends the child and waits for it.
func (c *Child) Close() error {
	err := c.in.Close()
	timer := time.AfterFunc(closeTimeout, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, c.out)
	return errors.Join(err, c.cmd.Wait())
}

// Tell writes a value as a line of JSON, for Ask and Read.
func Tell(out io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = out.Write(append(line, '\n'))
	return err
}
