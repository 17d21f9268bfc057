package node

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestACertificatesEndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards what follows
		var log bytes.Buffer
		from, until := time.Now(), time.Now().Add(365*24*time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			watchCertificate(ctx, slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil)), func() (time.Time, time.Time) {
				mu.Lock()
				defer mu.Unlock()
				return from, until
			})
		})
		defer func() { cancel(); wg.Wait() }()
		after := func(d time.Duration, warnings, ends int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if w, e := strings.Count(log.String(), "expires soon"), strings.Count(log.String(), "has expired"); w != warnings || e != ends {
				t.Errorf("%d warnings and %d ends were told, want %d and %d:\n%s", w, e, warnings, ends, &log)
			}
			log.Reset()
		}
		after(357*24*time.Hour, 0, 0)
		after(2*24*time.Hour, 1, 0)
		after(6*24*time.Hour-time.Hour, 6, 0)
		after(2*time.Hour, 0, 1)
		after(48*time.Hour, 0, 0)
		mu.Lock()
		from, until = time.Now(), time.Now().Add(10*time.Hour) // one that lives for hours
		mu.Unlock()
		after(7*time.Hour, 0, 0)
		after(2*time.Hour, 1, 0)
		after(2*time.Hour, 0, 1)
	})
}
