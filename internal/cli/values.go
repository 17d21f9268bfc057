package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/node"
	"github.com/geecache/geecache/internal/words"
)

// bytesValue is a flag that holds a number of bytes, such as 64MiB.
type bytesValue int64

// notGiven is a bytesValue that has a default of its own.
const notGiven bytesValue = -1

func (v *bytesValue) Set(s string) error {
	n, err := words.Bytes(s)
	*v = bytesValue(n)
	return err
}

func (v *bytesValue) Type() string { return "size" }

func (v *bytesValue) String() string {
	return words.FormatBytes(int64(*v))
}

// peersValue is a flag that holds peers, comma separated and repeatable.
type peersValue []geecache.Peer

func (v *peersValue) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		p, err := node.ParsePeer(part)
		if err != nil {
			return err
		}
		for _, q := range *v {
			if q.ID == p.ID && q != p {
				return fmt.Errorf("peer %q is at %s and at %s: give each peer its own ID", p.ID, q.Addr, p.Addr)
			}
		}
		if !slices.Contains(*v, p) {
			*v = append(*v, p)
		}
	}
	return nil
}

func (v *peersValue) Type() string { return "peers" }

func (v *peersValue) String() string {
	var all []string
	for _, p := range *v {
		all = append(all, p.ID+"="+p.Addr)
	}
	return strings.Join(all, ",")
}

// choiceValue is a flag that holds one of a few words.
type choiceValue struct {
	value   string
	choices []string
}

func (v *choiceValue) Set(s string) error {
	if !slices.Contains(v.choices, s) {
		return fmt.Errorf("use %s", strings.Join(v.choices, " or "))
	}
	v.value = s
	return nil
}

func (v *choiceValue) Type() string   { return strings.Join(v.choices, "|") }
func (v *choiceValue) String() string { return v.value }

// levelValue is a flag that holds a log level.
type levelValue struct{ slog.Level }

func (v *levelValue) Set(s string) error {
	if v.UnmarshalText([]byte(s)) != nil {
		return errors.New("use debug, info, warn or error")
	}
	return nil
}

func (v *levelValue) Type() string   { return "level" }
func (v *levelValue) String() string { return strings.ToLower(v.Level.String()) }

// listenValue is a flag that holds host:port, :port or only a host.
type listenValue string

func (v *listenValue) Set(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil && (s == "" || net.ParseIP(s) == nil && strings.ContainsAny(s, ":/ ")) {
		return errors.New("use host:port, such as 127.0.0.1:8001, or a host alone")
	}
	*v = listenValue(s)
	return nil
}

func (v *listenValue) Type() string   { return "host:port" }
func (v *listenValue) String() string { return string(*v) }

// withPort returns the address with a port, if it is a host alone.
func (v listenValue) withPort(port int) string {
	if v == "" {
		return ""
	}
	if _, _, err := net.SplitHostPort(string(v)); err == nil {
		return string(v)
	}
	return net.JoinHostPort(string(v), strconv.Itoa(port))
}

// envPrefix begins the name of each variable that stands for a flag.
const envPrefix = "GEECACHE_"

// envName returns the variable that stands for a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// setFromEnv sets each flag that the command line did not name from its
// variable, if there is one. It returns the names of variables that look like
// ones for flags and are not, with what may have been meant.
func setFromEnv(flags *pflag.FlagSet, environ []string) (unknown []string, err error) {
	env := make(map[string]string)
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, envPrefix) {
			env[name] = value
		}
	}
	if flags.Lookup("secret") == nil { // that of env up has another meaning
		delete(env, secretEnv)
	}
	delete(env, apiTokenEnv)
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		names = append(names, name)
		value, set := env[name]
		delete(env, name)
		if !set || f.Changed || err != nil || f.Name == "help" {
			return
		}
		if e := flags.Set(f.Name, value); e != nil {
			// That error names the flag, which nobody wrote.
			var invalid *pflag.InvalidValueError
			if errors.As(e, &invalid) {
				e = remedy(f, invalid.Unwrap())
			}
			err = usagef("environment variable %s is %q: %w", name, value, e)
		}
	})
	for name := range env {
		unknown = append(unknown, name+words.DidYouMean(name, names, ""))
	}
	slices.Sort(unknown)
	return unknown, err
}

// withoutFlags returns the environment without the variables that stand for flags;
// the secret is none.
func withoutFlags(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		return strings.HasPrefix(e, envPrefix) && !strings.HasPrefix(e, secretEnv+"=") && !strings.HasPrefix(e, apiTokenEnv+"=")
	})
}
