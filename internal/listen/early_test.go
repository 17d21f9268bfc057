package listen

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	earlyRequest = "GET /early HTTP/1.1\r\nHost: h\r\n\r\n"
	earlyAnswer  = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly"
)

func answerOne(request, buf []byte) ([]byte, bool) {
	return append(buf, earlyAnswer...), string(request) == earlyRequest
}

func isWhole(b []byte) bool {
	return strings.HasPrefix(string(b), "GET ") && strings.Index(string(b), "\r\n\r\n") == len(b)-4 &&
		!strings.Contains(string(b), "Length") && !strings.Contains(string(b), "Expect")
}

// dialEarly connects to a server with early answers, that otherwise tells what it
// was asked for.
func dialEarly(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(tcp, 10)
	l.SetEarly(Early{Answer: answerOne, Whole: isWhole, Idle: time.Minute, Write: time.Minute})
	s := &http.Server{ConnContext: ConnContext, ConnState: ConnState, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %d %s", r.Method, r.URL.Path, len(body), r.Header.Get("X"))
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	c, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second)) // instead of waiting for ever
	return c, bufio.NewReader(c)
}

func readBody(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// untilEarly asks until it is answered early: the server may still be about to end
// the answer before, and then it has begun to read the next request itself.
func untilEarly(t *testing.T, c net.Conn, r *bufio.Reader) {
	t.Helper()
	for {
		send(t, c, earlyRequest)
		switch got := readBody(t, r); got {
		case "early":
			return
		case "GET /early 0 ":
		default:
			t.Fatalf("the answer is %q", got)
		}
	}
}

// The server and the early answers take turns on one connection.
func TestEarlyAnswers(t *testing.T) {
	c, r := dialEarly(t)
	send(t, c, earlyRequest)
	if got := readBody(t, r); got != "GET /early 0 " { // the first is the server's: it may be HTTP/2
		t.Fatalf("the first answer is %q", got)
	}
	for _, step := range []struct{ request, want string }{
		{"GET /other HTTP/1.1\r\nHost: h\r\n\r\n", "GET /other 0 "},
		{earlyRequest, "early"},
		{"POST /other HTTP/1.1\r\nHost: h\r\nContent-Length: 32\r\n\r\n" + earlyRequest, "POST /other 32 "},
	} {
		untilEarly(t, c, r)
		send(t, c, step.request)
		if got := readBody(t, r); got != step.want {
			t.Fatalf("%q is answered with %q, want %q", step.request, got, step.want)
		}
	}
	for range 3 { // what had a body stays with the server
		send(t, c, earlyRequest)
		if got := readBody(t, r); got != "GET /early 0 " {
			t.Fatalf("after a request with a body: %q", got)
		}
	}
}

// What looks like a request within another one is not one.
func TestEarlyAnswersKeepWhatBelongsTogether(t *testing.T) {
	long := "GET /long HTTP/1.1\r\nY: "
	long += strings.Repeat("y", bufferSize-len(long)-len("\r\nX: ")) + "\r\nX: "
	body := strings.Repeat("b", bufferSize)
	for _, tc := range []struct {
		name, first, second string
		want                []string
	}{
		{"in a header", "GET /a HTTP/1.1\r\nX: ", earlyRequest, []string{"GET /a 0 GET /early HTTP/1.1"}},
		{"in a header, after a whole buffer", long, earlyRequest, []string{"GET /long 0 GET /early HTTP/1.1"}},
		{"behind two bytes that came with another", "GET /a HTTP/1.1\r\nHost: h\r\n\r\nPO", earlyRequest, []string{"GET /a 0 ", "POGET /early 0 "}},
		{"in a body", fmt.Sprintf("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", len(body)+len(earlyRequest)) + body, earlyRequest,
			[]string{fmt.Sprintf("POST /b %d ", len(body)+len(earlyRequest))}},
		{"behind another", earlyRequest + earlyRequest, earlyRequest, []string{"GET /early 0 ", "GET /early 0 "}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, r := dialEarly(t)
			untilEarly(t, c, r)
			send(t, c, tc.first)
			if tc.name == "behind two bytes that came with another" {
				if got := readBody(t, r); got != tc.want[0] { // now the server waits for the rest
					t.Fatalf("%q, want %q", got, tc.want[0])
				}
				tc.want = tc.want[1:]
			}
			send(t, c, tc.second)
			for _, want := range tc.want {
				if got := readBody(t, r); got != want {
					t.Errorf("%q, want %q", got, want)
				}
			}
		})
	}
}

// newEarly returns both ends of a connection that waits for a request.
func newEarly(t *testing.T) (near *conn, far net.Conn) {
	t.Helper()
	l := New(make(pipes), 10)
	l.SetEarly(Early{Answer: answerOne, Whole: isWhole, Idle: time.Minute, Write: time.Second})
	c, far := newPipe(t, l)
	near = c.(*conn)
	near.note([]byte(earlyRequest))
	ConnState(near, http.StateIdle)
	return near, far
}

func TestCloseLetsAnEarlyAnswerEnd(t *testing.T) {
	near, far := newEarly(t)
	read := make(chan error)
	go func() {
		_, err := near.Read(make([]byte, bufferSize))
		read <- err
	}()
	send(t, far, earlyRequest)
	first := make([]byte, 1)
	if _, err := io.ReadFull(far, first); err != nil {
		t.Fatal(err)
	}
	_ = near.Close() // while the rest is being written
	rest, err := io.ReadAll(far)
	if got := string(first) + string(rest); got != earlyAnswer || err != nil {
		t.Errorf("%q, %v: want %q and the end", got, err, earlyAnswer)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the server reads on: %v", err)
	}
	if !near.closed.Load() {
		t.Error("the connection is still open")
	}
}

func TestEarlyAnswersHaveDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := newEarly(t)
		defer near.Close()
		read := make(chan error)
		go func() {
			_, err := near.Read(make([]byte, bufferSize))
			read <- err
		}()
		for range 3 { // each begins the wait anew
			time.Sleep(50 * time.Second)
			send(t, far, earlyRequest)
			if _, err := io.ReadFull(far, make([]byte, len(earlyAnswer))); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < time.Minute-Tick || took > time.Minute+Tick {
			t.Errorf("the connection waited for %v, want a minute", took)
		}

		near, far = newEarly(t)
		defer near.Close()
		go func() { _, _ = far.Write([]byte(earlyRequest)) }()
		begun = time.Now()
		if _, err := near.Read(make([]byte, bufferSize)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < time.Second-Tick || took > time.Second+Tick {
			t.Errorf("an answer that nobody reads took %v, want a second", took)
		}
	})
}

func TestOtherConnectionsAreNotAnsweredEarly(t *testing.T) {
	for _, first := range []string{"PRI * HTTP/2.0\r\n\r\n", "POST / HTTP/1.1\r\n", "\x16\x03"} {
		l := New(make(pipes), 10)
		l.SetEarly(Early{Answer: answerOne, Whole: isWhole, Idle: time.Minute, Write: time.Minute})
		near, far := newPipe(t, l)
		go func() { _, _ = far.Write([]byte(first)) }()
		if _, err := near.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		ConnState(near, http.StateIdle)
		if near.(*conn).between.Load() {
			t.Errorf("a connection that begins with %q is answered early", first)
		}
	}
}

// The server has read the head of a request together with the one before. What
// comes next is its body, whatever it looks like.
func TestBodyIsNoRequest(t *testing.T) {
	for _, head := range []string{
		"POST /first HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
		"GET /first HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
	} {
		c, r := dialEarly(t)
		untilEarly(t, c, r)
		send(t, c, "GET /before HTTP/1.1\r\nHost: h\r\n\r\n"+fmt.Sprintf(head, len(earlyRequest)))
		if got := readBody(t, r); got != "GET /before 0 " {
			t.Fatalf("before: %q", got)
		}
		send(t, c, earlyRequest)
		if got, want := readBody(t, r), head[:strings.Index(head, " HTTP")]+fmt.Sprintf(" %d ", len(earlyRequest)); got != want {
			t.Errorf("a body that looks like a request: %q, want %q", got, want)
		}
	}
}

func TestPipelinedRequestsAreAnsweredInTurn(t *testing.T) {
	c, r := dialEarly(t)
	untilEarly(t, c, r)
	for range 3 {
		send(t, c, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HT")
		for _, want := range []string{"GET /1 0 ", "GET /2 0 "} {
			if got := readBody(t, r); got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		}
		send(t, c, "TP/1.1\r\nHost: h\r\n\r\n")
		if got := readBody(t, r); got != "GET /3 0 " {
			t.Fatalf("%q, want /3", got)
		}
		untilEarly(t, c, r) // and then early again
	}
}
