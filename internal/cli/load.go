package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/loadgen"
	"github.com/geecache/geecache/internal/tracefile"
)

// loadFlags are the flags of `geecache load` that are not fields of a
// loadgen.Config as they are.
type loadFlags struct {
	cfg        loadgen.Config
	steps      string
	parsed     []loadgen.Step // of steps
	find       bool
	search     loadgen.Search
	trace      string
	format     string
	saturated  bool // is put up with
	realTime   bool
	keyFile    string
	expect     []string
	headers    []string
	maxErrors  int64
	json       string
	bench      string
	quiet      bool
	secretFile string
	tokenFile  string
	caFile     string
	certFile   string
	certKey    string
}

const loadLong = `load sends requests at a given rate and checks every answer.

It is an open loop: a request is sent when the schedule says so, whether or not
others have been answered, and its latency counts from that moment. A target
that stalls is so charged for all that it kept waiting. With --callers it is a
closed loop instead, which measures throughput.

It also measures itself: "scheduling lag" is how late requests were sent. From a
p99 of 1 ms on, the result is marked "generator saturated": its figures are about
the machine that load runs on, and not about the target. --realtime has a busy
machine run it before all else (nice does not), where the system permits that:
Linux does to root and with CAP_SYS_NICE. Where it is not permitted, load says so
and sends all the same; the JSON result tells in machine.scheduling what it had.
It is not the default, because a generator that has more to do than it can takes
the processors from a target on the same machine.

--steps holds one rate after the other, each with a latency distribution of its
own, and --warmup before each:
  1000:10s,2000:10s   1,000 a second for 10 s, then 2,000
  1000..8000+1000:5s  8 steps, each 1,000 a second more than the one before
  500..16000x2:5s     6 steps, each twice the one before

--find-max-rate searches the highest rate at which --p99 (or --p99.9) holds and
no more than --error-share of the requests fail: it doubles the rate, bisects,
and holds what it found once more. A rate that is not good is tried up to three
times. If the generator is saturated first, the answer is "at least". Fill the
cache before, or the source is measured: --dist sequential --count N does.

--trace sends a recorded sequence of keys. --trace-format says what the file,
which may be compressed with gzip, holds:
  keys      a key a line (the default)
  arc       "START COUNT ..." a line: the blocks from START on
  blocks    a block's number a line
  uint64be  numbers of 8 bytes, big-endian
Blocks are asked for by their decimal number. The run ends with the trace, or
goes round with --trace-repeat.

A target is a URL with {key} where the key goes. http://host:9999 stands for
http://host:9999/api?key={key}, and http://host:8001/_geecache, with --group,
for the protocol that nodes speak.

--expect says what a right answer is, and may be repeated for 404:PREFIX:
  status           any value for every key (the default)
  any              any value, or "not found"
  file:PATH        the value that the file has (CSV KEY,VALUE or JSON lines of
                   {"key": ..., "value": ...}), "not found" for other keys
  sprintf:FORMAT   FORMAT with the key put in, e.g. sprintf:value-of-%s
  404:PREFIX       "not found" for keys with that prefix; one of the above holds
                   for all others

The API's token is taken from GEECACHE_API_TOKEN, where no other eyes see it.

The exit status is 0 if no more requests failed than --max-errors allows, 1 if
more did or no rate was found, 2 if the command line makes no sense, and 3 if the
generator was saturated (0 with --allow-saturated). Ctrl-C ends the run early and
still reports. After --warmup, where standard error is no terminal, a line there
says "counting requests from now on".`

const loadExample = `  geecache load --target http://localhost:9999 --rate 2000 --duration 20s
  geecache load --target http://localhost:9999 --dist zipf --zipf-s 1.1 \
      --keys 100000 --expect sprintf:value-of-%s --json result.json
  geecache load --target http://localhost:8001/_geecache --group scores --callers 64
  geecache load --target http://localhost:9999 --steps 1000..8000+1000:10s --warmup 1s
  geecache load --target http://localhost:9999 --find-max-rate --p99 5ms --expect any
  geecache load --target http://localhost:9999 --rate 2000 --expect any \
      --trace oltp.gz --trace-format arc`

// exitSaturated is the exit status of a run whose figures are about the
// generator.
const exitSaturated = 3

// newLoadCommand returns `geecache load`.
func newLoadCommand() *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:     "load --target URL [flags]",
		Short:   "Send requests at a given rate, check the answers, measure latency",
		Long:    loadLong,
		Example: loadExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("load takes no arguments, and %q is one: targets are given with --target", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.register(cmd)
	return cmd
}

func (f *loadFlags) register(cmd *cobra.Command) {
	c, flags := &f.cfg, cmd.Flags()
	flags.StringArrayVar(&c.URLs, "target", nil, "URL to ask; repeat it for several")
	flags.StringVar(&c.Group, "group", "", "group, for targets without a path or with {group}")
	flags.StringVar((*string)(&c.Pick), "pick", string(loadgen.RoundRobin), "how to spread requests over targets: round-robin or random")

	flags.Float64Var(&c.Rate, "rate", 0, fmt.Sprintf("requests per second (default %d, without --callers)", loadgen.DefaultRate))
	flags.IntVar(&c.Callers, "callers", 0, "closed loop: so many callers that each wait for their answer")
	flags.StringVar((*string)(&c.Arrivals), "arrivals", string(loadgen.Constant), "spacing of requests: constant or poisson")
	flags.DurationVar(&c.Duration, "duration", 0, fmt.Sprintf("how long to send (default %v, without --count)", loadgen.DefaultDuration))
	flags.Int64Var(&c.Count, "count", 0, "how many requests to send")
	flags.DurationVar(&c.Warmup, "warmup", 0, "send so long before counting starts")
	flags.DurationVar(&c.Timeout, "timeout", loadgen.DefaultTimeout, "of one request")
	flags.IntVar(&c.MaxOutstanding, "max-outstanding", loadgen.DefaultMaxOutstanding, "requests on their way at once; what is due beyond that counts as dropped")
	flags.IntVar(&c.HTTP.Connections, "connections", loadgen.DefaultConnections, "connections to a target that are in use at once; requests beyond that wait")

	flags.IntVar(&c.Keys.N, "keys", loadgen.DefaultKeyCount, "how many different keys")
	flags.StringVar(&c.Keys.Format, "key-format", loadgen.DefaultKeyFormat, "key for a number, as in Go's fmt")
	flags.StringVar((*string)(&c.Keys.Dist), "dist", "", "how often each key: uniform, zipf, sequential or weighted (default uniform; weighted for a key file with weights)")
	flags.Float64Var(&c.Keys.ZipfS, "zipf-s", loadgen.DefaultZipfS, "exponent of zipf, more than 0")
	flags.StringVar(&f.keyFile, "key-file", "", "file with a key a line, or KEY<tab>WEIGHT")
	flags.StringVar(&f.trace, "trace", "", "file with the keys of all requests, in their order")
	flags.StringVar(&f.format, "trace-format", string(tracefile.Keys), "what it holds: keys, arc, blocks or uint64be")
	flags.BoolVar(&c.Keys.Repeat, "trace-repeat", false, "start again at the end of the trace")
	flags.Uint64Var(&c.Seed, "seed", 1, "seed of keys, arrivals and random picks")

	flags.StringArrayVar(&f.expect, "expect", nil, "what a right answer is (see above)")
	flags.Int64Var(&f.maxErrors, "max-errors", 0, "failures that are put up with")
	flags.BoolVar(&f.saturated, "allow-saturated", false, "put up with a saturated generator: what counts is the load, and not the figures")
	flags.BoolVar(&f.realTime, "realtime", false, "run before all other processes of this machine, where that is permitted (see above)")
	f.registerModes(flags)
	flags.StringArrayVar(&f.headers, "header", nil, "header to send, as 'Name: value'; repeat it for several")
	flags.StringVar(&f.secretFile, "secret-file", "", "file of the cluster's secret, if it has one, for targets of the peer protocol (or: "+secretEnv+")")
	flags.StringVar(&f.tokenFile, "api-token-file", "", "file of the token that the API asks for, for targets of the API")
	flags.StringVar(&f.caFile, "tls-ca", "", "file of the authority that signed the targets' certificates")
	flags.StringVar(&f.certFile, "tls-cert", "", "file of the certificate to show to targets")
	flags.StringVar(&f.certKey, "tls-key", "", "file of that certificate's key")

	flags.StringVar(&f.json, "json", "", "write the whole result as JSON to this file, or - for standard output")
	flags.StringVar(&f.bench, "bench", "", "append a Go benchmark line to this file, or - for standard output")
	flags.StringVar(&c.Label, "label", "", "name of the target in benchmark lines (default api or peer)")
	flags.BoolVar(&f.quiet, "quiet", false, "no live view and no table")
}

// run sends, and reports to out; the live view and, when out is taken by JSON
// or benchmark lines, the table go to errOut.
func (f *loadFlags) run(ctx context.Context, out, errOut io.Writer) error {
	if err := f.complete(); err != nil {
		return &usageError{err}
	}
	if err := f.validate(); err != nil {
		return &usageError{err}
	}
	// Opened now: a file that cannot be written should not cost a long run.
	sinks, err := f.openSinks(out)
	if err != nil {
		return &usageError{err}
	}
	defer sinks.close()

	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	// Not before the report is written: what passes signals on, such as
	// timeout(1), may deliver one twice.
	defer stop()

	if f.realTime {
		if err := loadgen.RealTime(); err != nil {
			f.cfg.RealTimeRefused = err.Error()
			fmt.Fprintf(errOut, "geecache: load: --realtime: %v: this goes on without\n", err)
		}
	}
	progress := f.newProgress(errOut)
	f.cfg.Progress = progress.draw()
	report, err := f.measure(ctx, progress)
	progress.clear()
	if err != nil {
		return &usageError{err}
	}
	table := out
	if f.json == "-" || f.bench == "-" {
		table = errOut
	}
	if f.quiet {
		table = io.Discard
	}
	if err := errors.Join(report.WriteText(table), sinks.write(report)); err != nil {
		return fmt.Errorf("load: report: %w", err)
	}
	return f.judge(report)
}

// complete makes the Config's fields of the flags that stand for them.
func (f *loadFlags) complete() error {
	if f.maxErrors < 0 {
		return fmt.Errorf("--max-errors: %d: use 0 or more", f.maxErrors)
	}
	if err := f.completeModes(); err != nil {
		return err
	}
	if f.keyFile != "" {
		file, err := os.Open(f.keyFile)
		if err != nil {
			return fmt.Errorf("--key-file: %w", err)
		}
		defer file.Close()
		if f.cfg.Keys.List, err = loadgen.ReadKeys(file); err != nil {
			return fmt.Errorf("--key-file: %s: %w", f.keyFile, err)
		}
	}
	var err error
	if f.cfg.Expect, err = loadgen.ParseRules(f.expect); err != nil {
		return fmt.Errorf("--expect: %w", err)
	}
	f.cfg.HTTP.Header = make(http.Header)
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return fmt.Errorf("--header: %q: write it as 'Name: value'", line)
		}
		f.cfg.HTTP.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if f.cfg.HTTP.Secrets, err = (&trustFlags{secretFile: f.secretFile}).clientSecrets(); err != nil {
		return err
	}
	if f.cfg.HTTP.APIToken, err = (&trustFlags{apiTokenFile: f.tokenFile}).clientToken(); err != nil {
		return err
	}
	f.cfg.HTTP.TLS, err = loadTLS(f.caFile, f.certFile, f.certKey)
	return err
}

func loadTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	if (certFile == "") != (keyFile == "") {
		return nil, errors.New("--tls-cert, --tls-key: give both or neither")
	}
	if caFile == "" && certFile == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca: %s: no certificate in it: give a PEM file", caFile)
		}
	}
	if certFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// loadSinks are where results for scripts go; nil means nowhere.
type loadSinks struct {
	json, bench io.Writer
	benchEmpty  bool
	files       []*os.File
}

func (f *loadFlags) openSinks(out io.Writer) (*loadSinks, error) {
	s := &loadSinks{benchEmpty: true}
	open := func(flag, path string, mode int) (io.Writer, error) {
		switch path {
		case "":
			return nil, nil
		case "-":
			return out, nil
		}
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|mode, 0o644)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		s.files = append(s.files, file)
		return file, nil
	}
	var err error
	if s.json, err = open("--json", f.json, os.O_TRUNC); err != nil {
		return nil, err
	}
	if s.bench, err = open("--bench", f.bench, os.O_APPEND); err != nil {
		return nil, err
	}
	if file, ok := s.bench.(*os.File); ok && f.bench != "-" {
		if info, err := file.Stat(); err == nil && info.Size() > 0 {
			s.benchEmpty = false
		}
	}
	return s, nil
}

// write writes the result and closes the files.
func (s *loadSinks) write(r loadReport) error {
	var errs []error
	if s.json != nil {
		errs = append(errs, r.WriteJSON(s.json))
	}
	if s.bench != nil {
		if s.benchEmpty {
			errs = append(errs, r.WriteBenchHeader(s.bench))
		}
		errs = append(errs, r.WriteBench(s.bench))
	}
	return errors.Join(append(errs, s.close())...)
}

func (s *loadSinks) close() error {
	var errs []error
	for _, file := range s.files {
		errs = append(errs, file.Close())
	}
	s.files = nil
	return errors.Join(errs...)
}
