package node

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
)

func TestZeroConfigIsValid(t *testing.T) {
	var c Config
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	full, err := c.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if err := full.Validate(); err != nil {
		t.Errorf("with its defaults it is not valid: %v", err)
	}
	if full.Listen != DefaultListen || full.ID != DefaultListen || full.Source != DefaultSource || full.Groups[0] != DefaultGroup {
		t.Errorf("%+v", full)
	}
	client, err := Config{Role: geecache.RoleClient}.WithDefaults()
	if err != nil || client.Listen != DefaultAPIListen || client.Source != "" {
		t.Errorf("a client: %+v, %v", client, err)
	}
}

func TestAdvertiseIsReachable(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:8001", ":8001", "[::]:8001"} {
		c, err := Config{Listen: listen}.WithDefaults()
		if err != nil || !strings.HasSuffix(c.Advertise, ":8001") || strings.Contains(c.Advertise, "0.0.0.0") || strings.HasPrefix(c.Advertise, ":") || strings.HasPrefix(c.Advertise, "[::]") {
			t.Errorf("--listen %s is advertised as %s, %v", listen, c.Advertise, err)
		}
	}
}

func TestValidateNamesTheFlag(t *testing.T) {
	peers := []geecache.Peer{{ID: "a:1", Addr: "a:1"}}
	for _, c := range []struct {
		cfg  Config
		says string
	}{
		{Config{Listen: "8001"}, "--listen"},
		{Config{Listen: "127.0.0.1:http"}, "--listen"},
		{Config{Listen: "127.0.0.1:70000"}, "--listen"},
		{Config{Advertise: "host"}, "--advertise"},
		{Config{APIListen: "x"}, "--api-listen"},
		{Config{Listen: "0.0.0.0:1"}, "--insecure"},
		{Config{Listen: ":1"}, "--insecure"},
		{Config{Listen: "example.org:1"}, "--insecure"},
		{Config{APIListen: "10.0.0.1:1"}, "--api-listen"},
		{Config{Listen: "0.0.0.0:1", Insecure: true, Peers: peers}, "--advertise"},
		{Config{Role: "boss"}, "--role"},
		{Config{CloudWatchDimensions: "group"}, "--cloudwatch-dimensions"},
		{Config{CloudWatchMetrics: []string{"geecache_hits"}}, "--cloudwatch-metrics"},
		{Config{Role: geecache.RoleClient}, "--peers"},
		{Config{Role: geecache.RoleClient, Peers: peers, APIListen: "127.0.0.1:1"}, "--api"},
		{Config{Role: geecache.RoleClient, Peers: peers, Source: "slowdb:"}, "--source"},
		{Config{Source: "nothing"}, "--source"},
		{Config{Source: "ftp://x"}, "--source"},
		{Config{Source: "slowdb:?latency=x"}, "--source"},
		{Config{Query: "select 1"}, "--query"},
		{Config{DrainTimeout: -1}, "--drain-timeout"},
		{Config{Timings: geecache.Timings{DeadAfter: -1}}, "--peer-timeout"},
		{Config{Weight: -1}, "--weight"},
		{Config{Weight: 101}, "--weight"},
		{Config{Weight: math.Inf(1)}, "--weight"},
		{Config{Weight: math.NaN()}, "--weight"},
		{Config{Weight: 2, Peers: peers}, "--peers cannot tell others"},
		{Config{Weight: 2, Registry: "static:127.0.0.1:1"}, "--weight"},
		{Config{Groups: []string{"a", "a"}}, "--group"},
		{Config{API: APIConfig{Timeout: -time.Second}}, "--api-timeout"},
		{Config{API: APIConfig{MaxInFlight: -1}}, "--api-max-inflight"},
		{Config{API: APIConfig{MaxBatchKeys: -1}}, "MaxBatchKeys"},
	} {
		if err := c.cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: error %v does not name %s", c.cfg, err, c.says)
		}
	}
	for _, cfg := range []Config{
		{Listen: "localhost:1"}, {Listen: "[::1]:1"}, {Listen: "127.0.0.9:0"},
		{Listen: "0.0.0.0:1", Insecure: true, Peers: peers, Advertise: "a:1"},
		{Weight: 1, Peers: peers}, {Weight: 2}, {Weight: 2, Registry: "file:/etc/peers"},
		{Source: "postgres://u@h/db", Query: "select v from t where k = $1"},
		{Source: "mysql://u@h/db"}, {Source: "https://origin.example/{key}"}, {Source: "dynamodb://table"},
	} {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestParsePeer(t *testing.T) {
	for s, want := range map[string]geecache.Peer{
		"10.0.0.1:8001":       {ID: "10.0.0.1:8001", Addr: "10.0.0.1:8001"},
		"a=10.0.0.1:8001":     {ID: "a", Addr: "10.0.0.1:8001"},
		"grpc://h:1":          {ID: "h:1", Addr: "grpc://h:1"},
		"a=http://h:1":        {ID: "a", Addr: "http://h:1"},
		"[::1]:8001":          {ID: "[::1]:8001", Addr: "[::1]:8001"},
		"h:1=grpc://[::1]:80": {ID: "h:1", Addr: "grpc://[::1]:80"},
	} {
		if got, err := ParsePeer(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "h", ":8001", "h:", "=h:1", "a=", "a=h", "grpc://", "h:1:2"} {
		if got, err := ParsePeer(s); err == nil {
			t.Errorf("%q is read as %+v", s, got)
		}
	}
}
