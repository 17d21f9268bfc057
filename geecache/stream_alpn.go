package geecache

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// serveALPN serves a TLS connection that has chosen the stream by its ALPN name.
// It begins with the same HTTP request as any other. An [http.Server] closes such
// a connection unless its TLSNextProto names a function like this one for it.
func (s *streamServer) serveALPN(_ *http.Server, conn *tls.Conn, _ http.Handler) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(s.cfg.timings.handshakeTimeout)); err != nil {
		return
	}
	limited := &io.LimitedReader{R: conn, N: handshakeMost}
	br := bufio.NewReader(limited)
	r, err := http.ReadRequest(br)
	if err != nil {
		s.cfg.log.Debug("stream's handshake broken off", "from", conn.RemoteAddr().String(), "err", err)
		return
	}
	state := conn.ConnectionState()
	r.TLS, r.RemoteAddr = &state, conn.RemoteAddr().String()
	w := &alpnResponse{conn: conn, br: br, header: make(http.Header)}
	s.serveUpgrade(w, r)
}

// alpnResponse is the http.ResponseWriter of serveALPN.
type alpnResponse struct {
	conn   net.Conn
	br     *bufio.Reader
	header http.Header
}

// Header implements http.ResponseWriter.
func (w *alpnResponse) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. The body lasts until the connection
// ends.
func (w *alpnResponse) WriteHeader(status int) {
	fmt.Fprintf(w.conn, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	w.header.Write(w.conn)
	io.WriteString(w.conn, "\r\n")
}

// Write implements http.ResponseWriter.
func (w *alpnResponse) Write(b []byte) (int, error) { return w.conn.Write(b) }

// Hijack implements http.Hijacker.
func (w *alpnResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(w.br, nil), nil
}
