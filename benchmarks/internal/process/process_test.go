package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/geecache/geecache/benchmarks/internal/process"
)

func TestMain(m *testing.M) {
	process.Main(map[string]process.Role{
		"echo": func(_ context.Context, args []string, in io.Reader, out io.Writer) error {
			lines := bufio.NewScanner(in)
			for lines.Scan() {
				if err := process.Tell(out, args[0]+lines.Text()); err != nil {
					return err
				}
			}
			return lines.Err()
		},
		"fail": func(context.Context, []string, io.Reader, io.Writer) error { return errors.New("on purpose") },
	})
	os.Exit(m.Run())
}

func TestChildAnswersAndEnds(t *testing.T) {
	c, err := process.Start(t.Context(), "echo", nil, "> ")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		var got string
		if err := c.Ask(i, &got); err != nil || got != fmt.Sprintf("> %d", i) {
			t.Errorf("Ask(%d) = %q, %v", i, got, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

func TestChildThatFails(t *testing.T) {
	c, err := process.Start(t.Context(), "fail", nil)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := c.Read(&got); err == nil {
		t.Errorf("Read of a child that has failed = %q", got)
	}
	if err := c.Close(); err == nil {
		t.Error("Close of a child that has failed is no error")
	}
}

// Whoever lacks a server is told how to install it.
func TestMissingProgram(t *testing.T) {
	p := process.Program{Name: "no-such-server", Args: func(string) []string { return nil }}
	err := p.Run(t.Context(), strings.NewReader(""), func(string) error { return nil })
	if !errors.Is(err, process.ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install no-such-server") {
		t.Errorf("Run = %v, want ErrNotInstalled with the remedy", err)
	}
}
