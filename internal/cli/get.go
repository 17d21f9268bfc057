package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/geecache"
)

const getLong = `get asks for keys and writes their values to standard output.

A value is written as it is; a line end follows it only on a terminal, or when
several keys are asked for. --explain prints the way of the request instead:
each step, the node where it happened, and the time that it took. --json prints
one object a key and line; what is not UTF-8 is in key_base64 and value_base64.

The exit status is 0 if each key has a value, 1 if one has none, and 2 if
anything else went wrong.`

const getExample = `  geecache get Tom
  geecache get Tom --explain
  geecache get --addr 127.0.0.1:8001 --group scores Tom Jack Sam --json`

type getFlags struct {
	clientFlags
	group   string
	explain bool
}

// newGetCommand returns `geecache get`.
func newGetCommand() *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{
		Use:     "get KEY...",
		Short:   "Ask for keys, and for where their values came from",
		Long:    getLong,
		Example: getExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("get: no key given: write `geecache get KEY`; the empty key is ''")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.register(cmd, 30*time.Second)
	cmd.Flags().StringVar(&f.group, "group", "scores", "group of the keys")
	cmd.Flags().BoolVar(&f.explain, "explain", false, "print each step of the request, its node and its time")
	return cmd
}

// run asks for one key after the other. A key without a value does not end it.
func (f *getFlags) run(ctx context.Context, keys []string, out, errOut io.Writer) error {
	c, err := f.client()
	if err != nil {
		return failed(err)
	}
	one := f.runValue
	if f.explain {
		one = f.runExplain
	}
	end := ""
	if _, live := onTerminal(out); live || len(keys) > 1 {
		end = "\n"
	}
	var missing []string
	for _, key := range keys {
		err := one(ctx, c, key, out, end)
		switch {
		case errors.Is(err, geecache.ErrNotFound):
			missing = append(missing, key)
			if len(keys) > 1 && !f.json {
				fmt.Fprintf(errOut, "%s not exist\n", keyText(key))
			}
		case err != nil:
			return failed(fmt.Errorf("get %s: %w", keyText(key), err))
		}
	}
	switch {
	case len(missing) == 0:
		return nil
	case len(keys) == 1:
		return &clientError{err: fmt.Errorf("%s not exist", keyText(missing[0])), code: exitNotFound}
	}
	return &clientError{err: fmt.Errorf("%d of %d keys do not exist", len(missing), len(keys)), code: exitNotFound}
}

// valueJSON is what --json prints for a key.
type valueJSON struct {
	Key         string  `json:"key"`
	KeyBase64   []byte  `json:"key_base64,omitempty"`
	Group       string  `json:"group"`
	Found       bool    `json:"found"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
	From        string  `json:"from,omitempty"`
	TTL         string  `json:"ttl,omitempty"`
	TookNS      int64   `json:"took_ns"`
}

func (f *getFlags) runValue(ctx context.Context, c *client, key string, out io.Writer, end string) error {
	start := time.Now()
	a, err := c.value(ctx, f.group, key)
	if err != nil && !(f.json && errors.Is(err, geecache.ErrNotFound)) {
		return err
	}
	if !f.json {
		_, err := out.Write(append(a.value, end...))
		return err
	}
	v := valueJSON{Key: key, Group: f.group, Found: err == nil, From: a.from, TTL: a.ttl, TookNS: time.Since(start).Nanoseconds()}
	if !utf8.ValidString(key) {
		v.KeyBase64 = []byte(key)
	}
	if text := string(a.value); v.Found && utf8.ValidString(text) {
		v.Value = &text
	} else if v.Found {
		v.ValueBase64 = a.value
	}
	return errors.Join(json.NewEncoder(out).Encode(v), err)
}

// An explanation is what /api/explain answers.
type explanation struct {
	Key      string          `json:"key"`
	Group    string          `json:"group"`
	From     string          `json:"from"`
	Node     string          `json:"node"`
	PeerFrom string          `json:"peer_from"`
	TTL      string          `json:"ttl"`
	Bytes    int             `json:"bytes"`
	Took     string          `json:"took"`
	Owners   []string        `json:"owners"`
	Steps    []geecache.Step `json:"steps"`
	Code     string          `json:"code"` // a geecache.Code's name
	Error    string          `json:"error"`
}

func (f *getFlags) runExplain(ctx context.Context, c *client, key string, out io.Writer, _ string) error {
	query := url.Values{"key": {key}, "group": {f.group}}.Encode()
	var raw json.RawMessage
	if err := c.getJSON(ctx, "/api/explain", query, &raw); errors.Is(err, errAbsent) {
		return fmt.Errorf("%s is a cache node: --explain asks an API server, such as --addr %s", c.base.Host, defaultAddr)
	} else if err != nil {
		return err
	}
	var e explanation
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("%s: /api/explain is not what this version expects: %w", c.base.Host, err)
	}
	if f.json {
		if _, err := out.Write(append(raw, '\n')); err != nil {
			return err
		}
	} else if _, err := io.WriteString(out, e.text(key, paletteFor(out))); err != nil {
		return err
	}
	return e.err()
}

// text draws the explanation: who answers for the key, and the steps.
func (e *explanation) text(key string, p palette) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  group %s", p.bold(keyText(key)), e.Group)
	if len(e.Owners) > 0 {
		fmt.Fprintf(&b, "  owner %s", p.bold(e.Owners[0]))
	}
	if len(e.Owners) > 1 {
		fmt.Fprintf(&b, "  stand-ins %s", strings.Join(e.Owners[1:], ", "))
	}
	b.WriteString("\n\n")
	t := newTable(2)
	t.head(p, "NODE", "STEP", "TIME")
	for _, s := range e.Steps {
		took := p.faint("-")
		if s.Took > 0 {
			took = shortDuration(s.Took)
		}
		t.row(s.Node, s.What, took)
	}
	t.write(&b)
	b.WriteString("\n" + e.verdict(p) + "\n")
	return b.String()
}

// verdict says in one line how it ended.
func (e *explanation) verdict(p palette) string {
	if e.Error != "" {
		return p.red("error: " + e.Error)
	}
	text := "from: " + p.bold(e.From)
	if e.From == geecache.FromPeer.String() {
		text += fmt.Sprintf(" %s (%s)", e.Node, e.PeerFrom)
	}
	text += fmt.Sprintf("  %d bytes", e.Bytes)
	if e.TTL != "" {
		text += "  ttl " + e.TTL
	}
	if d, err := time.ParseDuration(e.Took); err == nil {
		text += "  in " + shortDuration(d)
	}
	return text
}

// err tells "not found" from a failure.
func (e *explanation) err() error {
	switch {
	case e.Error == "":
		return nil
	case geecache.ParseCode(e.Code) == geecache.CodeNotFound:
		return geecache.ErrNotFound
	}
	return errors.New(e.Error)
}
