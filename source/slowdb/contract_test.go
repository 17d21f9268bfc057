package slowdb

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/geecache/geecache/source/sourcetest"
)

func put(t *testing.T, s *Source, key string, value []byte) {
	t.Helper()
	if _, err := s.db.Exec("REPLACE INTO kv VALUES (?, ?)", []byte(key), value); err != nil {
		t.Fatal(err)
	}
}

func openSlow(t *testing.T) sourcetest.Source { return open(t, Config{Latency: 2 * time.Minute}) }

func TestContractFile(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
		cfg := Config{Path: filepath.Join(t.TempDir(), "x.db"), NoSeed: true}
		backend := open(t, cfg)
		return sourcetest.Fixture{
			Open:     func(t *testing.T) sourcetest.Source { return open(t, cfg) },
			Put:      func(t *testing.T, key string, value []byte) { put(t, backend, key, value) },
			OpenSlow: openSlow,
		}
	})
}

func TestContractMemory(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
		// A database in memory ends with its Source, so each new one is given
		// the rows again.
		rows := map[string][]byte{}
		var current *Source
		return sourcetest.Fixture{
			Open: func(t *testing.T) sourcetest.Source {
				current = open(t, Config{NoSeed: true})
				for key, value := range rows {
					put(t, current, key, value)
				}
				return current
			},
			Put: func(t *testing.T, key string, value []byte) {
				rows[key] = value
				if current != nil && !current.isClosed() {
					put(t, current, key, value)
				}
			},
			OpenSlow: openSlow,
		}
	})
}
