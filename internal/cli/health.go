package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const healthLong = `health asks a node on this machine whether it lives, or, with --ready, whether it
should be sent requests. It is for health checks of containers, which need no
other program then: the exit status is 0 if so, and 1 if not.

Without --addr it asks the node that the environment of the container describes:
GEECACHE_LISTEN or GEECACHE_PORT, else 127.0.0.1:8001.`

// newHealthCommand returns `geecache health`.
func newHealthCommand() *cobra.Command {
	var addr string
	var ready bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a node whether it lives, for containers' health checks",
		Long:  healthLong,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usagef("--timeout is %v: use a positive duration such as 2s", timeout)
			}
			if addr == "" {
				addr = localAddr(os.Getenv)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			text, err := askHealth(ctx, addr, path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "", "host:port of the node, with https:// before it if it serves TLS")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it should be sent requests")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Second, "how long to wait for an answer")
	return cmd
}

// localAddr returns where the node listens that the environment describes.
func localAddr(getenv func(string) string) string {
	port := getenv(envName("port"))
	if port == "" {
		port = "8001"
		if getenv(envName("role")) == "client" {
			port = "9999"
		}
	}
	host := getenv(envName("listen"))
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// askHealth returns what the node says, or an error if that is not 200.
func askHealth(ctx context.Context, addr, path string) (string, error) {
	client, scheme := localClient(os.Getenv(envName("tls-cert")) != "")
	if before, rest, ok := strings.Cut(addr, "://"); ok {
		client, scheme = localClient(before == "https")
		addr = rest
	}
	client.Timeout = 0 // the context has it
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+addr+path, nil)
	if err != nil {
		return "", usagef("--addr is %q: use host:port", addr)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("health: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	text := strings.TrimSpace(string(body))
	switch {
	case err != nil:
		return "", fmt.Errorf("health: %w", err)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("health: %s answers %s: %s", addr, resp.Status, text)
	}
	return text, nil
}
