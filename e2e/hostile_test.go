//go:build unix

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A badRequest is what a broken or hostile client sends, and what it gets.
type badRequest struct {
	name   string
	send   string
	status int    // of the answer
	code   string // in the header Geecache-Error; empty: any
}

func head(line string, headers ...string) string {
	return line + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(headers, "\r\n"), "\r\n")
}

func badPeerRequests() []badRequest {
	return []badRequest{
		{"no group", head("GET /_geecache/"), 400, "bad-request"},
		{"no key", head("GET /_geecache/scores"), 400, "bad-request"},
		{"empty group", head("GET /_geecache//Tom"), 400, "bad-request"},
		{"unknown group", head("GET /_geecache/nope/Tom"), 404, "no-group"},
		{"long group", head("GET /_geecache/" + strings.Repeat("g", 4096) + "/Tom"), 404, "no-group"},
		{"broken escape", head("GET /_geecache/scores/%zz"), 400, ""},
		{"query", head("GET /_geecache/scores/Tom?x=1"), 400, "bad-request"},
		{"other path", head("GET /nothing"), 404, ""},
		{"method", head("DELETE /_geecache/scores/Tom"), 405, "bad-request"},
		{"write", head("PUT /_geecache/scores/Tom", "Content-Length: 3") + "630", 405, "bad-request"},
		{"body", head("GET /_geecache/scores/Tom", "Content-Length: 1000000000") + "x", 413, "too-large"},
		{"long key", head("GET /_geecache/scores/" + strings.Repeat("k", 16<<10+1)), 413, "too-large"},
		{"long header", head("GET /_geecache/scores/Tom", "X: "+strings.Repeat("x", 256<<10)), 431, ""},
		{"mode", head("GET /_geecache/scores/Tom", "Geecache-Mode: 9", "Geecache-For-Cluster: geecache"), 0, ""},
		{"other upgrade", head("GET /_geecache/", "Connection: Upgrade", "Upgrade: websocket"), 0, ""},
		{"stranger's stream", head("GET /_geecache/", "Connection: Upgrade", "Upgrade: geecache/1"), 0, ""},
		// Less than an HTTP/2 preface would be awaited as the start of one.
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x5a", 32) + "\r\n", 400, ""},
		{"garbage", strings.Repeat("\x00\x01\x02", 16) + "\r\n\r\n", 400, ""},
	}
}

func badAPIRequests() []badRequest {
	batch := func(body string) string {
		return head("POST /api/batch", fmt.Sprintf("Content-Length: %d", len(body))) + body
	}
	return []badRequest{
		{"no key", head("GET /api"), 400, "bad-request"},
		{"two keys", head("GET /api?key=a&key=b"), 400, "bad-request"},
		{"broken escape", head("GET /api?key=%zz"), 400, "bad-request"},
		{"unknown group", head("GET /api?key=Tom&group=nope"), 404, "no-group"},
		{"method", head("POST /api?key=Tom", "Content-Length: 0"), 405, "bad-request"},
		{"deadline", head("GET /api?key=Tom", "Geecache-Timeout: soon"), 400, "bad-request"},
		{"long key", head("GET /api?key=" + strings.Repeat("k", 16<<10+1)), 413, "too-large"},
		{"batch by GET", head("GET /api/batch"), 405, "bad-request"},
		{"batch of nothing", batch(`{"keys":[]}`), 400, "bad-request"},
		{"batch that is no JSON", batch(`keys=Tom`), 400, "bad-request"},
		{"batch with more", batch(`{"keys":["Tom"]} {}`), 400, "bad-request"},
		{"batch too large", head("POST /api/batch", "Content-Length: 9000000") + `{"keys":["` + strings.Repeat("k", 8<<20), 413, "too-large"},
	}
}

// try sends a bad request and checks the answer; a status of 0 stands for any
// refusal.
func (b *badRequest) try(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	// The server may answer and close before it has read all.
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, b.send)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		_ = conn.Close()
		<-sent
		return fmt.Errorf("no answer: %w", err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<20)
	_ = resp.Body.Close()
	_ = conn.Close()
	<-sent
	if b.status == 0 && (resp.StatusCode < 400 || resp.StatusCode > 499) || b.status != 0 && resp.StatusCode != b.status {
		return fmt.Errorf("status %d, want %d (0: any refusal)", resp.StatusCode, b.status)
	}
	if code := resp.Header.Get("Geecache-Error"); b.code != "" && code != b.code {
		return fmt.Errorf("code %q, want %q", code, b.code)
	}
	return nil
}

// TestBadRequestsCostNothing: what makes no sense gets a clear status, and
// leaves neither goroutines nor descriptors behind.
func TestBadRequestsCostNothing(t *testing.T) {
	c := startCluster(t, clusterConfig{source: "slowdb:?latency=0s"})
	for _, p := range c.all() { // what is made once is there before the count
		if _, _, err := c.ask(p, "Tom"); err != nil {
			t.Fatal(err)
		}
	}
	node := c.nodes[0]
	targets := []struct {
		p    *process
		bads []badRequest
	}{{node, badPeerRequests()}, {c.api, badAPIRequests()}}
	before := make(map[*process]costs)
	for _, target := range targets {
		before[target.p] = measure(t, target.p)
	}
	for _, target := range targets {
		for range 5 {
			for _, b := range target.bads {
				if err := b.try(target.p.addr); err != nil {
					t.Errorf("%s: %s: %v", target.p.name, b.name, err)
				}
			}
			if t.Failed() {
				return
			}
		}
	}
	halfOpen(t, node, c.api)
	for _, target := range targets {
		var now costs
		err := poll(patience, func() error {
			if now = measure(t, target.p); now.goroutines > before[target.p].goroutines || now.descriptors > before[target.p].descriptors {
				return fmt.Errorf("%+v, before %+v", now, before[target.p])
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s has not come back to where it was: %v", target.p.name, err)
		}
		if _, value, err := c.ask(target.p, "Jack"); err != nil || string(value) != "589" {
			t.Errorf("%s afterwards: %q, %v", target.p.name, value, err)
		}
	}
}

// costs are what connections can leave behind.
type costs struct{ goroutines, descriptors float64 }

func measure(t *testing.T, p *process) costs {
	t.Helper()
	client.CloseIdleConnections() // the test's own are not counted, but the one that asks
	return costs{p.metric(t, "go_goroutines"), p.metric(t, "process_open_fds")}
}

// halfOpen opens connections that say nothing, or stop in the middle, and waits
// until the processes have had enough of each.
func halfOpen(t *testing.T, processes ...*process) {
	t.Helper()
	const each = 60
	var conns []net.Conn
	for _, p := range processes {
		for i := range each {
			conn, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			start := []string{"", "GET /_geecache/scores/Tom HTTP/1.1\r\nHost: x", "PRI * HTTP/2.0\r\n\r\nSM"}[i%3]
			if _, err := io.WriteString(conn, start); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
		}
		err := poll(patience, func() error { // a busy process accepts them a little later
			if open := p.metric(t, "process_open_fds"); open < each {
				return fmt.Errorf("%v descriptors while %d connections are half open", open, each)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
	}
	for i, conn := range conns {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%s: half-open connection %d is still open after %v", processes[i/each].name, i%each, patience)
		}
	}
}
