//go:build unix

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/geecache/geecache/geecachepb"
	"github.com/geecache/geecache/peergrpc"
)

// weirdKeys are keys that protocols and paths make something else of.
func weirdKeys() []string {
	every := make([]byte, 8<<10)
	for i := range every {
		every[i] = byte(i)
	}
	return []string{
		"", ".", "..", "/", "a/b", "a//b", "/../", "../../etc", "%", "%2F", "%2f%00", "a b", " ", "+", "a+b",
		"\x00", "a\x00b", "\r\n", "\xff\xfe", "\xc3", "ключ", "?a=b&c=d", "#", "key=x&group=y", ";", "\\", "\"q\"",
		"{key}", strings.Repeat("k", 8<<10), string(every),
	}
}

// A door is a way to ask a process for a key. It returns the value, or the name
// of the error's code with the error.
type door struct {
	name string
	ask  func(p *process, key string) (value []byte, code string, err error)
}

// doors returns the ways into a cache node.
func doors(t *testing.T) []door {
	return []door{{"http", askRaw}, {"grpc", newGRPCAsker(t)}}
}

// askRaw speaks the peer protocol over a bare connection, so that no library
// tidies the path.
func askRaw(p *process, key string) ([]byte, string, error) {
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "GET /_geecache/scores/%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", escapePath(key), p.addr)
	if err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, resp.Header.Get("Geecache-Error"), fmt.Errorf("%s: %s", resp.Status, body)
	}
	value, err := decodeValue(body)
	return value, "", err
}

// newGRPCAsker asks as a client does that is no node.
func newGRPCAsker(t *testing.T) func(*process, string) ([]byte, string, error) {
	conns := make(map[string]*grpc.ClientConn)
	return func(p *process, key string) ([]byte, string, error) {
		conn := conns[p.addr]
		if conn == nil {
			var err error
			conn, err = grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
			if err != nil {
				return nil, "", err
			}
			t.Cleanup(func() { _ = conn.Close() })
			conns[p.addr] = conn
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var trailer metadata.MD
		resp, err := peergrpc.NewGroupCacheClient(conn).Get(ctx, &geecachepb.Request{Group: "scores", Key: []byte(key)}, grpc.Trailer(&trailer))
		return resp.GetValue(), strings.Join(trailer.Get(peergrpc.MetadataCode), ","), err
	}
}

// TestAnyKeyThroughEachDoor asks for keys that are hard to carry: through the
// API and through each node's HTTP and gRPC, while the processes speak each of
// the protocols among themselves.
func TestAnyKeyThroughEachDoor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ scheme, protocol string }{{"", "stream"}, {"grpc://", "grpc"}, {"http://", "http"}} {
		t.Run(tc.protocol, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, 0)
			c := startCluster(t, clusterConfig{source: o.url(), scheme: tc.scheme, args: []string{"--hot-copies=false"}})
			for _, peer := range c.api.status(t).Peers {
				if peer.ID != c.api.addr && peer.Protocol != tc.protocol {
					t.Fatalf("the API server speaks %q with %s, want %q", peer.Protocol, peer.ID, tc.protocol)
				}
			}
			ways := doors(t)
			for _, key := range weirdKeys() {
				want := valueOf(key)
				resp, value, err := c.ask(c.api, key)
				if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(value, want) {
					t.Errorf("api: %.40q: %v, %.60q, %v", key, resp, value, err)
				}
				for _, d := range ways {
					for _, n := range c.nodes {
						if value, _, err := d.ask(n, key); err != nil || !bytes.Equal(value, want) {
							t.Errorf("%s of %s: %.40q: %.60q, %v", d.name, n.name, key, value, err)
						}
					}
				}
				if n := o.count(key); tc.protocol != "http" && n != 1 {
					t.Errorf("%.40q: %d queries, want 1", key, n)
				}
			}
			for _, d := range ways {
				if _, code, err := d.ask(c.nodes[0], "none:1"); err == nil || code != "not-found" {
					t.Errorf("%s: a key without a value: %q, %v", d.name, code, err)
				}
			}
		})
	}
}

// sizeValue is the value of the key "size:N": N bytes.
func sizeValue(key string) ([]byte, bool) {
	n, err := strconv.Atoi(strings.TrimPrefix(key, "size:"))
	if err != nil {
		return valueOf(key), true
	}
	value := make([]byte, n)
	for i := range value {
		value[i] = byte(i * 7)
	}
	return value, true
}

const maxValue = 8 << 20

// TestValueSizes: values from nothing to the limit arrive through each door. One
// that is larger is refused, and costs nobody his entry.
func TestValueSizes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ scheme, protocol string }{{"", "stream"}, {"grpc://", "grpc"}} {
		t.Run(tc.protocol, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, 0)
			o.value = sizeValue
			c := startCluster(t, clusterConfig{source: o.url(), scheme: tc.scheme, args: []string{"--cache-bytes=128MiB", "--hot-copies=false"}})
			ways := doors(t)
			var keys []string
			for _, n := range []int{0, 1, 100, 64<<10 - 1, 64 << 10, 1<<20 + 1, maxValue - 1, maxValue} {
				keys = append(keys, fmt.Sprintf("size:%d", n))
			}
			all := func() {
				t.Helper()
				for _, key := range keys {
					want, _ := sizeValue(key)
					resp, value, err := c.ask(c.api, key)
					if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(value, want) {
						t.Errorf("api: %s: %d bytes, %v, %v", key, len(value), resp, err)
					}
					for _, d := range ways {
						for _, n := range c.nodes {
							if value, _, err := d.ask(n, key); err != nil || !bytes.Equal(value, want) {
								t.Errorf("%s of %s: %s: %d bytes, %v", d.name, n.name, key, len(value), err)
							}
						}
					}
				}
			}
			all()
			entries := c.entries(t)
			if entries != int64(len(keys)) {
				t.Errorf("%d entries for %d keys", entries, len(keys))
			}

			large := fmt.Sprintf("size:%d", maxValue+1)
			resp, body, err := c.ask(c.api, large)
			if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(body), strconv.Itoa(maxValue)) {
				t.Errorf("api: one byte over the limit: %v, %.200q, %v; want 413 and the limit", resp, body, err)
			}
			for _, d := range ways {
				for _, n := range c.nodes {
					if _, code, err := d.ask(n, large); err == nil || code != "too-large" || !strings.Contains(err.Error(), strconv.Itoa(maxValue)) {
						t.Errorf("%s of %s: one byte over the limit: %q, %v; want too-large and the limit", d.name, n.name, code, err)
					}
				}
			}
			if now := c.entries(t); now != entries {
				t.Errorf("after it there are %d entries, before there were %d", now, entries)
			}
			all()
			for _, key := range keys {
				if n := o.count(key); n != 1 {
					t.Errorf("%s: %d queries, want 1: it was kept", key, n)
				}
			}
		})
	}
}

// entries returns how many entries the nodes' main caches hold.
func (c *cluster) entries(t *testing.T) (n int64) {
	t.Helper()
	for _, p := range c.nodes {
		n += p.group(t).Main.Entries
	}
	return n
}
