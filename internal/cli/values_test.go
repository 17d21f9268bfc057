package cli

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/geecache/geecache/internal/words"
)

func TestBytesValueReadsWhatItWrites(t *testing.T) {
	for _, n := range []int64{0, 1, 1023, 1024, 1 << 20, 3 << 29, 1<<20 + 1, math.MaxInt32} {
		v := bytesValue(n)
		if got, err := words.Bytes(v.String()); err != nil || got != n {
			t.Errorf("%d is written %s and read as %d, %v", n, v.String(), got, err)
		}
	}
}

func TestPeersValue(t *testing.T) {
	var v peersValue
	for _, s := range []string{"127.0.0.1:1, b=127.0.0.1:2", "", "c=grpc://127.0.0.1:3,127.0.0.1:1,"} {
		if err := v.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	if got := v.String(); got != "127.0.0.1:1=127.0.0.1:1,b=127.0.0.1:2,c=grpc://127.0.0.1:3" {
		t.Errorf("peers are %s", got)
	}
	if err := v.Set("b=127.0.0.1:9"); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("one ID at two addresses: %v", err)
	}
	if err := v.Set("nowhere"); err == nil {
		t.Error("a peer without a port is accepted")
	}
}

func TestListenValue(t *testing.T) {
	for s, want := range map[string]string{
		"127.0.0.1:1": "127.0.0.1:1", ":1": ":1", "0.0.0.0": "0.0.0.0:7", "::1": "[::1]:7", "localhost": "localhost:7", "[::1]:1": "[::1]:1",
	} {
		var v listenValue
		if err := v.Set(s); err != nil || v.withPort(7) != want {
			t.Errorf("%q: %s, %v, want %s", s, v.withPort(7), err, want)
		}
	}
	for _, s := range []string{"", "a:b:c", "http://x", "a b"} {
		var v listenValue
		if v.Set(s) == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestSetFromEnv(t *testing.T) {
	newFlags := func() (*pflag.FlagSet, *time.Duration, *[]string, *bytesValue) {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		var size bytesValue
		flags.Var(&size, "cache-bytes", "")
		return flags, flags.Duration("ttl", time.Hour, ""), flags.StringSlice("group", []string{"scores"}, ""), &size
	}
	flags, ttl, groups, size := newFlags()
	if err := flags.Parse([]string{"--ttl=1s"}); err != nil {
		t.Fatal(err)
	}
	unknown, err := setFromEnv(flags, []string{
		"GEECACHE_TTL=5s", "GEECACHE_CACHE_BYTES=1KiB", "GEECACHE_GROUP=a,b", "GEECACHE_CACHEBYTES=1", "TTL=9s",
	})
	if err != nil {
		t.Fatal(err)
	}
	if *ttl != time.Second {
		t.Errorf("the flag says 1s, the variable 5s: %v", *ttl)
	}
	if *size != 1024 || !slices.Equal(*groups, []string{"a", "b"}) {
		t.Errorf("size %d, groups %v", *size, *groups)
	}
	if want := []string{"GEECACHE_CACHEBYTES: did you mean GEECACHE_CACHE_BYTES?"}; !slices.Equal(unknown, want) {
		t.Errorf("unknown variables: %q, want %q", unknown, want)
	}
	for env, says := range map[string]string{
		"GEECACHE_TTL=5":         `GEECACHE_TTL is "5": use a duration`,
		"GEECACHE_CACHE_BYTES=x": `GEECACHE_CACHE_BYTES is "x": use a size`,
	} {
		flags, _, _, _ := newFlags()
		if _, err := setFromEnv(flags, []string{env}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", env, err)
		}
	}
}

func TestWithoutFlags(t *testing.T) {
	env := []string{"A=1", "GEECACHE_PORT=2", "B=3"}
	if got := withoutFlags(env); !slices.Equal(got, []string{"A=1", "B=3"}) || len(env) != 3 || env[1] != "GEECACHE_PORT=2" {
		t.Errorf("%v of %v", got, env)
	}
}
