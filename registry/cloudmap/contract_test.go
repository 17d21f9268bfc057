package cloudmap

import (
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/registrytest"
)

func TestContract(t *testing.T) {
	emulators(t, func(t *testing.T, endpoint string) {
		registrytest.Run(t, func(t *testing.T) registrytest.Harness {
			cfg := newService(t, endpoint).Config
			proxy := registrytest.NewProxy(t, strings.TrimPrefix(endpoint, "http://"))
			cfg.Endpoint = "http://" + proxy.Addr
			cfg.Interval, cfg.Refresh, cfg.backoff = 50*time.Millisecond, time.Second, 500*time.Millisecond
			return registrytest.Harness{
				Open: func(t *testing.T) registrytest.Handle {
					r := open(t, cfg)
					return registrytest.Handle{Discoverer: r, Registrar: r, Close: r.Close}
				},
				Holds: func(m registry.Member) bool { _, err := attributesOf(m); return err == nil },
				Stop:  func(*testing.T) { proxy.SetDown(true) },
				Start: func(*testing.T) { proxy.SetDown(false) },
				Delay: func(_ *testing.T, d time.Duration) { proxy.SetDelay(d) },
			}
		})
	})
}
