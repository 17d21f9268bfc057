package cli

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/trust"
)

// secretEnv is the environment variable that holds the cluster's secret itself,
// for those who have no file. No flag does: command lines can be read by others.
const secretEnv = envPrefix + "SECRET"

// apiTokenEnv is the same for the API's token.
const apiTokenEnv = envPrefix + "API_TOKEN"

// trustFlags are the flags of what a process proves itself with.
type trustFlags struct {
	secretFile   string
	tls          trust.TLSFiles
	apiTokenFile string
	getenv       func(string) string // nil: os.Getenv
}

// register adds the flags of a process that serves.
func (f *trustFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.secretFile, "secret-file", "", "file of the cluster's secret, which nodes prove to each other; a second line is accepted too. Read again when it changes (or: "+secretEnv+")")
	flags.StringVar(&f.tls.Cert, "tls-cert", "", "file of the certificate to serve with and to show to peers; read again when it changes, as the next two are")
	flags.StringVar(&f.tls.Key, "tls-key", "", "file of that certificate's key")
	flags.StringVar(&f.tls.CA, "tls-ca", "", "file of the authority that signs the nodes' certificates: whoever shows one of its certificates is answered")
	flags.StringVar(&f.apiTokenFile, "api-token-file", "", "file of the token that the API asks of its clients; a second line is accepted too (or: "+apiTokenEnv+")")
}

// registerClient adds the flags of a command that asks a running node.
func (f *trustFlags) registerClient(flags *pflag.FlagSet) {
	flags.StringVar(&f.secretFile, "secret-file", "", "file of the cluster's secret, if it has one (or: "+secretEnv+")")
	flags.StringVar(&f.tls.CA, "tls-ca", "", "file of the authority that signed the nodes' certificates")
	flags.StringVar(&f.tls.Cert, "tls-cert", "", "file of the certificate to show to nodes")
	flags.StringVar(&f.tls.Key, "tls-key", "", "file of that certificate's key")
	flags.StringVar(&f.apiTokenFile, "api-token-file", "", "file of the token that the API asks for (or: "+apiTokenEnv+")")
}

// clientSecrets returns the cluster's secrets for a command, nil if there is none.
func (f *trustFlags) clientSecrets() (func() []string, error) {
	text := f.env(secretEnv)
	switch {
	case f.secretFile != "":
		return trust.OpenSecrets("--secret-file", f.secretFile, slog.New(slog.DiscardHandler))
	case text == "":
		return nil, nil
	}
	secrets, err := trust.ParseSecrets(text)
	if err != nil {
		return nil, usagef("%s: %w", secretEnv, err)
	}
	return func() []string { return secrets }, nil
}

// transport returns base with TLS and credentials, as the flags say.
func (f *trustFlags) transport(base *http.Transport) (http.RoundTripper, error) {
	if f.tls.Given() {
		files, err := trust.OpenClientTLS(f.tls, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		base.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&tls.Dialer{Config: files.Client()}).DialContext(ctx, network, addr)
		}
	}
	secrets, err := f.clientSecrets()
	if err != nil {
		return nil, err
	}
	t := &doorTransport{nodes: base, api: base}
	if secrets != nil {
		t.nodes = (&geecache.Credentials{Secrets: secrets}).Transport(base)
		t.api = t.nodes
	}
	token, err := f.clientToken()
	if err != nil {
		return nil, err
	}
	if token != "" {
		t.api = bearerTransport{base, token}
	}
	return t, nil
}

// clientToken returns the API's token for a command, empty if there is none.
func (f *trustFlags) clientToken() (string, error) {
	if f.apiTokenFile != "" {
		tokens, err := trust.OpenSecrets("--api-token-file", f.apiTokenFile, slog.New(slog.DiscardHandler))
		if err != nil {
			return "", err
		}
		return tokens()[0], nil
	}
	text := f.env(apiTokenEnv)
	if text == "" {
		return "", nil
	}
	tokens, err := trust.ParseSecrets(text)
	if err != nil {
		return "", usagef("%s: %w", apiTokenEnv, err)
	}
	return tokens[0], nil
}

// apiTokenOfEnv returns the API's token that the environment holds, if no file does.
func (f *trustFlags) apiTokenOfEnv() string {
	if f.apiTokenFile != "" {
		return ""
	}
	return f.env(apiTokenEnv)
}

// A doorTransport shows the API's clients' token to the API, and the nodes' to
// whatever else there is.
type doorTransport struct{ nodes, api http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t *doorTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/api") {
		return t.api.RoundTrip(r)
	}
	return t.nodes.RoundTrip(r)
}

type bearerTransport struct {
	base  http.RoundTripper
	token string
}

// RoundTrip implements http.RoundTripper.
func (t bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return t.base.RoundTrip(r)
}

// localClient returns a client for questions to a process of this machine that
// tell nothing worth hiding: whether it lives and serves. The certificate that
// it shows is not looked at.
func localClient(secure bool) (client *http.Client, scheme string) {
	t := &http.Transport{DisableKeepAlives: true} // no proxy
	if !secure {
		return &http.Client{Transport: t, Timeout: time.Second}, "http://"
	}
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	return &http.Client{Transport: t, Timeout: time.Second}, "https://"
}

// secretOfEnv returns the secret that the environment holds, if no file does.
func (f *trustFlags) secretOfEnv() string {
	if f.secretFile != "" {
		return ""
	}
	return f.env(secretEnv)
}
