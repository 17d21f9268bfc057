package judge_test

import (
	"os"
	"testing"

	"github.com/geecache/geecache/internal/cli"
)

// The test binary is the load tool, too, which the judge runs in a process of its own.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "load" {
		os.Exit(cli.Main())
	}
	os.Exit(m.Run())
}
