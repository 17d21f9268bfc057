//go:build unix

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	gc "github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/peergrpc"
)

const (
	rightSecret = "the right secret of the cluster!"
	wrongSecret = "a secret that somebody made up!!"
	apiToken    = "a token that the API's clients have"
)

// tempFile writes a file and returns its path.
func tempFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startGuarded starts a cluster of two nodes with a secret. The first one serves
// an API with a token, too, and has a port for operators.
func startGuarded(t *testing.T, secretFile string) (nodes []*process, api, admin string) {
	t.Helper()
	addrs := []string{freeAddr(t), freeAddr(t)}
	api, admin = freeAddr(t), freeAddr(t)
	for i, addr := range addrs {
		args := []string{"node", "--listen", addr, "--peers", strings.Join(addrs, ","), "--secret-file", secretFile, "--cluster-id", "guarded-cluster"}
		if i == 0 {
			args = append(args, "--api", "--api-listen", api, "--api-token-file", tempFile(t, "token", apiToken), "--admin-listen", admin)
		}
		p := start(t, fmt.Sprint("node-", i), args...)
		p.addr = addr
		nodes = append(nodes, p)
	}
	for _, p := range nodes {
		eventually(t, p.name+" is ready", p.ready)
	}
	return nodes, api, admin
}

func (p *process) ready() error {
	code, body, err := get(p.url("/readyz"))
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%d: %s", code, body)
	}
	return err
}

// leaks are what no answer to a stranger may hold: a value, a key, a member, a
// group, the cluster.
func leaks(nodes []*process) []string {
	words := []string{"630", "scores", "Tom", "guarded-cluster"}
	for _, p := range nodes {
		_, port, _ := net.SplitHostPort(p.addr)
		words = append(words, ":"+port)
	}
	return words
}

// A port scanner's view: whatever it asks on whatever port, in whatever protocol,
// without credentials or with wrong ones, it gets neither a value nor a key nor
// the members, and writes nothing.
func TestStrangersGetNothing(t *testing.T) {
	secret := tempFile(t, "secret", rightSecret)
	nodes, api, admin := startGuarded(t, secret)
	// There is something to be got.
	warm := &http.Client{Transport: (&gc.Credentials{Secrets: func() []string { return []string{rightSecret} }}).Transport(http.DefaultTransport)}
	resp, err := warm.Get(nodes[0].url("/_geecache/scores/Tom"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "630") {
		t.Fatalf("with the secret: %s %q", resp.Status, body)
	}
	words := leaks(nodes)
	for _, addr := range []string{nodes[0].addr, nodes[1].addr, api} {
		scanHTTP(t, addr, words)
		scanStream(t, addr, api, words)
		scanGRPC(t, addr, words)
	}
	// The operators' port is on loopback, where it asks for nothing; but it has no keys.
	for _, path := range []string{"/_geecache/scores/Tom", "/api?key=Tom", "/api/batch"} {
		if code, body, err := get("http://" + admin + path); err != nil || code != http.StatusNotFound {
			t.Errorf("%s on the operators' port: %d %q, %v", path, code, body, err)
		}
	}
	for _, path := range []string{"/metrics", "/statusz", "/topz", "/debug/pprof/"} {
		if code, _, err := get("http://" + admin + path); err != nil || code != http.StatusOK {
			t.Errorf("%s on the operators' port: %d, %v", path, code, err)
		}
	}
	for _, path := range []string{"/metrics", "/statusz", "/topz", "/debug/pprof/"} {
		if code, _, err := get(nodes[0].url(path)); err != nil || code != http.StatusNotFound {
			t.Errorf("%s on the node's port, beside one for operators: %d, %v", path, code, err)
		}
	}
	s := (&process{addr: admin, name: "node-0"}).status(t)
	if s.HandshakesRefused[gc.RefusedSecret] == 0 {
		t.Errorf("strangers were not counted: %v", s.HandshakesRefused)
	}
	if loads := s.Groups[0].Loads(); loads > 1 {
		t.Errorf("strangers made the node load: %d loads", loads)
	}
}

// credentials are what a stranger may try.
func credentials() map[string]string {
	return map[string]string{
		"nothing":      "",
		"wrong token":  "Bearer " + fmt.Sprintf("%x", time.Now().Add(time.Minute).Unix()) + ".0123456789abcdef." + strings.Repeat("0", 64),
		"wrong secret": "Bearer " + wrongSecret,
		"basic":        "Basic dXNlcjpwYXNzd29yZA==",
	}
}

// requestID is drawn for each request that fails: sooner or later a word is in it.
var requestID = regexp.MustCompile(`X-Request-Id: [0-9a-f]{32}\r\n`)

// scanHTTP asks each path with each method.
func scanHTTP(t *testing.T, addr string, words []string) {
	paths := []string{
		"/_geecache/scores/Tom", "/_geecache/scores/", "/_geecache/", "/_geecache", "/_geecache/x/y", "/_geecache/scores/..%2f",
		"/metrics", "/statusz", "/topz", "/topz?n=5&group=scores", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars",
		"/api?key=Tom", "/api?key=Tom&group=scores", "/api/explain?key=Tom", "/api/members", "/api/batch", "/api/anything", "/", "/favicon.ico",
	}
	for name, authorization := range credentials() {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			for _, path := range paths {
				answer := requestID.ReplaceAllString(rawHTTP(t, addr, method, path, authorization), "")
				for _, word := range words {
					if strings.Contains(answer, word) && !strings.Contains(path, word) {
						t.Errorf("%s: %s %s with %s tells %q:\n%s", addr, method, path, name, word, answer)
					}
				}
				if strings.HasPrefix(answer, "HTTP/1.1 2") {
					t.Errorf("%s: %s %s with %s is answered:\n%.300s", addr, method, path, name, answer)
				}
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if answer := rawHTTP(t, addr, "GET", path, ""); !strings.HasPrefix(answer, "HTTP/1.1 200") {
			t.Errorf("%s: %s is for strangers, too:\n%s", addr, path, answer)
		}
	}
}

// rawHTTP returns all that comes back for a request on a connection of its own.
func rawHTTP(t *testing.T, addr, method, path, authorization string) string {
	t.Helper()
	request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: node\r\nConnection: close\r\n", method, path)
	if authorization != "" {
		request += "Authorization: " + authorization + "\r\n"
	}
	body := ""
	if method == "POST" || method == "PUT" {
		body = `{"keys":["Tom"]}`
		request += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return rawExchange(t, addr, request+"\r\n"+body, false)
}

// rawExchange sends bytes and returns all that comes back until the other side
// has nothing more to say. With last, it is told that nothing more comes.
func rawExchange(t *testing.T, addr, text string, last bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		return ""
	}
	if last {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	all, _ := io.ReadAll(conn) // a reset is an end, too
	return nonces.ReplaceAllString(string(all), "NONCE")
}

// nonces are random, and so hold any three digits now and then.
var nonces = regexp.MustCompile("[0-9a-f]{64}")

// scanStream tries to begin a stream without a proof, with a wrong one, and to
// send frames all the same.
func scanStream(t *testing.T, addr, api string, words []string) {
	hello := "GET /_geecache/ HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: geecache/1\r\nGeecache-Version: " + gc.ProtocolVersion + "\r\n"
	who := "Geecache-Cluster: x\r\nGeecache-Node: stranger:1\r\nGeecache-Role: node\r\nGeecache-Epoch: 0\r\n"
	nonce := "Geecache-Nonce: " + strings.Repeat("ab", 32) + "\r\n"
	proof := "Geecache-Proof: " + strings.Repeat("cd", 32) + "\r\n"
	// A request frame for scores/Tom, and a cancel.
	frame := "\x25\x00\x00\x00\x01\x01\x1c\x00" + "\x01\x00\x00\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 16) + "\x06\x00\x00\x00" + "scoresTom"
	for name, text := range map[string]string{
		"hello":                  hello + who + "\r\n",
		"hello, frames":          hello + who + "\r\n" + frame,
		"nonce, wrong proof":     hello + nonce + "\r\n" + hello + who + proof + "\r\n" + frame,
		"nonce, no proof":        hello + nonce + "\r\n" + hello + who + "\r\n" + frame,
		"nonce, frames":          hello + nonce + "\r\n" + frame,
		"proof without a nonce":  hello + who + proof + "\r\n" + frame,
		"version of an old node": strings.Replace(hello, "Version: "+gc.ProtocolVersion, "Version: 1.0", 1) + who + "\r\n" + frame,
		"frames alone":           frame,
		"token, wrong proof":     strings.ReplaceAll(hello, "Connection: Upgrade\r\nUpgrade: geecache/1\r\n", "Connection: close\r\n") + who + nonce + proof + "Geecache-Challenge: " + strings.Repeat("ab", 32) + "." + strings.Repeat("ef", 32) + "\r\n\r\n",
	} {
		answer := rawExchange(t, addr, text, true)
		if strings.Contains(answer, " 101 ") || strings.Contains(answer, "Geecache-Token:") || strings.Contains(answer, "Geecache-Proof:") {
			t.Errorf("%s: a stranger with %s is let in:\n%s", addr, name, answer)
		}
		if !strings.HasPrefix(answer, "HTTP/1.1 4") {
			t.Errorf("%s: a stranger with %s is not refused:\n%s", addr, name, answer)
		}
		if name == "nonce, wrong proof" && addr != api && strings.Count(answer, "HTTP/1.1 401") != 2 {
			t.Errorf("%s: a stranger's proof is not looked at:\n%s", addr, answer)
		}
		for _, word := range append(words, "Geecache-Epoch", "Geecache-Node") {
			if strings.Contains(answer, word) {
				t.Errorf("%s: a stranger with %s is told %q:\n%s", addr, name, word, answer)
			}
		}
	}
}

// scanGRPC calls each method of each service whose descriptor is known.
func scanGRPC(t *testing.T, addr string, words []string) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	methods := 0
	for _, file := range []protoreflect.FileDescriptor{
		peergrpc.File_peergrpc_service_proto,
		healthpb.File_grpc_health_v1_health_proto, reflectionpb.File_grpc_reflection_v1_reflection_proto,
		reflectionalphapb.File_grpc_reflection_v1alpha_reflection_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				methods++
				m := service.Methods().Get(j)
				for name, authorization := range credentials() {
					err := callGRPC(conn, m, authorization)
					if code := grpcstatus.Code(err); code != codes.Unauthenticated && code != codes.Unimplemented {
						t.Errorf("%s: %s with %s: %v", addr, m.FullName(), name, err)
					}
					for _, word := range words {
						if err != nil && strings.Contains(err.Error(), word) {
							t.Errorf("%s: %s with %s tells %q: %v", addr, m.FullName(), name, word, err)
						}
					}
				}
			}
		}
	}
	if methods < 6 {
		t.Errorf("only %d methods are known", methods)
	}
}

// callGRPC calls a method with a message that asks for something.
func callGRPC(conn *grpc.ClientConn, m protoreflect.MethodDescriptor, authorization string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()))
	if err != nil {
		return err
	}
	in := dynamicpb.NewMessage(m.Input())
	for name, value := range map[protoreflect.Name]protoreflect.Value{
		"group": protoreflect.ValueOfString("scores"), "key": protoreflect.ValueOfBytes([]byte("Tom")),
		"list_services": protoreflect.ValueOfString("*"),
	} {
		if f := m.Input().Fields().ByName(name); f != nil {
			in.Set(f, value)
		}
	}
	if err := stream.SendMsg(proto.Message(in)); err != nil && err != io.EOF {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(dynamicpb.NewMessage(m.Output()))
}

// With TLS that verifies clients, who has no certificate gets as little.
func TestStrangersGetNothingOverTLS(t *testing.T) {
	dir := t.TempDir()
	makeCerts(t, dir, "node")
	addrs := []string{freeAddr(t), freeAddr(t)}
	var nodes []*process
	for i, addr := range addrs {
		p := start(t, fmt.Sprint("node-", i), append([]string{"node", "--listen", addr, "--peers", strings.Join(addrs, ",")}, tlsArgs(dir, "node")...)...)
		p.addr = addr
		nodes = append(nodes, p)
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer stranger.CloseIdleConnections()
	for _, p := range nodes {
		eventually(t, p.name+" is ready", func() error {
			resp, err := stranger.Get("https://" + p.addr + "/readyz")
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s", resp.Status)
			}
			return nil
		})
		for _, path := range []string{"/_geecache/scores/Tom", "/metrics", "/statusz", "/topz", "/_geecache/"} {
			resp, err := stranger.Get("https://" + p.addr + path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode < 400 || strings.Contains(string(body), "630") || strings.Contains(string(body), p.addr) {
				t.Errorf("%s: %s %q", path, resp.Status, body)
			}
		}
		for _, protocol := range []string{"geecache/1", "http/1.1"} {
			conn, err := tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(conn, "GET /_geecache/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: geecache/1\r\nGeecache-Version: %s\r\nGeecache-Cluster: geecache\r\nGeecache-Node: s:1\r\nGeecache-Role: node\r\n\r\n", gc.ProtocolVersion)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Geecache-Node") != "" {
				t.Errorf("a stream over %s: %v, %v", protocol, resp, err)
			}
			_ = conn.Close()
		}
		if rest := rawExchange(t, p.addr, "GET /_geecache/scores/Tom HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false); strings.Contains(rest, "630") {
			t.Errorf("without TLS: %q", rest)
		}
	}
	// With a certificate the same is answered, by whichever node owns the key.
	out := run(t, append([]string{"get", "Tom", "--addr", nodes[0].addr}, tlsArgs(dir, "node")...)...)
	if !strings.Contains(out, "630") {
		t.Errorf("with a certificate: %q", out)
	}
}

// A node that was given another cluster's secret or ID joins nothing, serves
// nothing, and says which of the two it was.
func TestWrongSecretOrClusterServesNothing(t *testing.T) {
	nodes, _, admin := startGuarded(t, tempFile(t, "secret", rightSecret))
	for reason, args := range wrongSettings(t, "guarded-cluster") {
		p := servesNothing(t, reason, append(args, "--peers", nodes[0].addr+","+nodes[1].addr)...)
		if s := (&process{addr: admin, name: "node-0"}).status(t); s.HandshakesRefused[gc.Refusal(reason)] == 0 {
			t.Errorf("the cluster has counted %v", s.HandshakesRefused)
		}
		end(t, p)
	}
}

// The same where it would hear of the others by gossip, and does not.
func TestWrongSecretOrClusterInTheGossip(t *testing.T) {
	seed := freeAddr(t)
	node := start(t, "node", "node", "--listen", freeAddr(t), "--cluster-id", "gossiping-cluster",
		"--secret-file", tempFile(t, "secret", rightSecret), "--registry", "gossip://"+seed+"?listen="+seed)
	eventually(t, "the seed gossips", func() error {
		if !strings.Contains(node.out.String(), "registered") {
			return fmt.Errorf("it wrote: %s", node.out.String())
		}
		return nil
	})
	for reason, args := range wrongSettings(t, "gossiping-cluster") {
		end(t, servesNothing(t, reason, append(args, "--registry", "gossip://"+seed+"?listen="+freeAddr(t))...))
	}
}

// wrongSettings returns the flags of nodes that are given another secret, or another
// cluster's ID, by which of them it is.
func wrongSettings(t *testing.T, cluster string) map[string][]string {
	return map[string][]string{
		"secret":  {"--secret-file", tempFile(t, "wrong", wrongSecret), "--cluster-id", cluster},
		"cluster": {"--secret-file", tempFile(t, "right", rightSecret), "--cluster-id", "another-cluster"},
	}
}

// servesNothing starts a node that the cluster refuses, and checks that it says
// why and that all of its doors are shut.
func servesNothing(t *testing.T, reason string, args ...string) *process {
	t.Helper()
	addr, api := freeAddr(t), freeAddr(t)
	p := start(t, "wrong-"+reason, append([]string{"node", "--listen", addr, "--api", "--api-listen", api}, args...)...)
	p.addr = addr
	eventually(t, p.name+" says what is wrong", func() error {
		if text := p.out.String(); !strings.Contains(text, "the cluster refuses this node") || !strings.Contains(text, "reason="+reason) {
			return fmt.Errorf("it wrote: %s", text)
		}
		return nil
	})
	for _, url := range []string{p.url("/readyz"), "http://" + api + "/readyz", "http://" + api + "/api?key=Tom"} {
		code, body, err := get(url)
		if err != nil || code != http.StatusServiceUnavailable || strings.Contains(string(body), "630") {
			t.Errorf("%s: %d %q, %v", url, code, body, err)
		}
	}
	if code, _, err := get(p.url("/healthz")); err != nil || code != http.StatusOK {
		t.Errorf("/healthz: %d, %v", code, err)
	}
	return p
}

// end ends a process by SIGTERM.
func end(t *testing.T, p *process) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("%s ended with status %d", p.name, code)
	}
}
