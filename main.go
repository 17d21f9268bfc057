// Command geecache runs and asks a distributed read-through cache.
package main

import (
	"os"

	"github.com/geecache/geecache/internal/cli"
)

func main() { os.Exit(cli.Main()) }
