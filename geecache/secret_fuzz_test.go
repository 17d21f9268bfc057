package geecache

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A scriptedConn is a connection whose other side says what a fuzzer has it say.
type scriptedConn struct {
	discardConn
	in   *bytes.Reader
	said bytes.Buffer
}

func (c *scriptedConn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *scriptedConn) Write(p []byte) (int, error) { return c.said.Write(p) }
func (c *scriptedConn) SetDeadline(time.Time) error { return nil }

// scriptedWriter is the http.ResponseWriter of a connection that can be taken over.
type scriptedWriter struct {
	*httptest.ResponseRecorder
	conn *scriptedConn
}

func (w scriptedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), nil), nil
}

// FuzzHandshake has a server read any request for a stream, and any bytes after
// its challenge: nobody gets in.
func FuzzHandshake(f *testing.F) {
	var hellos bytes.Buffer
	h := http.Header{"Upgrade": {streamProtocol}, headerVersion: {ProtocolVersion}, headerNonce: {strings.Repeat("ab", nonceBytes)}}
	_ = h.Write(&hellos)
	second := http.Header{headerProof: {strings.Repeat("cd", 32)}, headerExpect: {"server"}, "Upgrade": {streamProtocol}}
	hello{Cluster: "test", ID: "client", Role: RoleNode}.set(second)
	var proof bytes.Buffer
	proof.WriteString("GET /_geecache/ HTTP/1.1\r\nHost: x\r\n")
	_ = second.Write(&proof)
	proof.WriteString("\r\n")
	f.Add(hellos.Bytes(), proof.Bytes())
	f.Add([]byte("Upgrade: geecache/1\r\nGeecache-Version: 9.%zz\r\n"), []byte("POST x"))
	s := newStreamServer(streamServerConfig{self: helloOf("server"), secrets: secretsOf(oldSecret), handler: testHandler{now: echo}})
	open := newStreamServer(streamServerConfig{self: helloOf("server"), handler: testHandler{now: echo}, maxConns: 1})
	open.drain() // whoever is welcome is told so, and does not stay
	f.Fuzz(func(t *testing.T, headers, after []byte) {
		r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader("GET /_geecache/ HTTP/1.1\r\nHost: x\r\n"), bytes.NewReader(headers), strings.NewReader("\r\n"))))
		if err != nil {
			return
		}
		for _, server := range []*streamServer{s, open} {
			w := scriptedWriter{httptest.NewRecorder(), &scriptedConn{in: bytes.NewReader(after)}}
			server.serveUpgrade(w, r)
			if strings.Contains(w.conn.said.String(), " 101 ") {
				t.Errorf("let in:\n%s", &w.conn.said)
			}
		}
	})
}

// FuzzAnswer has a client read any answers to its requests for a stream.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 401 Unauthorized\r\nGeecache-Nonce: " + strings.Repeat("ab", nonceBytes) + "\r\nContent-Length: 0\r\n\r\n" +
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: geecache/1\r\nGeecache-Version: 1.0\r\nGeecache-Proof: 00\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 403 Forbidden\r\nGeecache-Refusal: refused\r\nGeecache-Reason: cluster\r\n\r\nwhy"))
	f.Fuzz(func(t *testing.T, answers []byte) {
		for _, secret := range []string{"", oldSecret} {
			c := &streamClient{cfg: streamClientConfig{self: helloOf("client"), peer: Peer{ID: "server"}, addr: "server:1"}}
			conn := &scriptedConn{in: bytes.NewReader(answers)}
			remote, err := c.greet(conn, bufio.NewReader(conn), secret)
			if err == nil && (secret != "" || remote.ID != "server") {
				t.Errorf("%+v is taken for the peer", remote)
			}
			if secret != "" && strings.Contains(conn.said.String(), secret) {
				t.Error("the secret is told")
			}
		}
	})
}

// FuzzToken looks for a token or a challenge that nobody gave.
func FuzzToken(f *testing.F) {
	secret := newNonce() // each worker has its own: what another one gave is no good
	d := newDoor(&Config{Secrets: secretsOf(secret), Cluster: "c", ID: "a"}, new(refusalCounts))
	now := time.Unix(1_800_000_000, 0)
	given, challenge := d.newToken(secret, now), d.newChallenge(now)
	f.Add(given)
	f.Add(challenge)
	f.Add("6b49d200..")
	f.Fuzz(func(t *testing.T, text string) {
		if d.valid(text, now) && !strings.EqualFold(text, given) {
			t.Errorf("token %q", text)
		}
		if d.ours(text, now) && text != challenge {
			t.Errorf("challenge %q", text)
		}
	})
}

// FuzzTokenAnswer has a client read any answers to its requests for a token.
func FuzzTokenAnswer(f *testing.F) {
	f.Add("Geecache-Challenge: "+strings.Repeat("ab", nonceBytes)+".00\r\n", "Geecache-Token: x\r\nGeecache-Token-Life: 5m\r\nGeecache-Version: 1.0\r\n", uint16(204))
	f.Fuzz(func(t *testing.T, first, second string, status uint16) {
		c := &Credentials{Secrets: secretsOf(oldSecret)}
		answers := []string{
			"HTTP/1.1 401 Unauthorized\r\n" + first + "\r\n",
			fmt.Sprintf("HTTP/1.1 %d x\r\n", 100+status%500) + second + "\r\n",
		}
		_, err := c.prove(func(http.Header) (*http.Response, error) {
			if len(answers) == 0 {
				return nil, io.EOF
			}
			text := answers[0]
			answers = answers[1:]
			return http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
		})
		if err == nil {
			t.Error("a token without a proof is taken")
		}
	})
}
