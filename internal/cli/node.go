package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/ecstask"
	"github.com/geecache/geecache/internal/node"
	"github.com/geecache/geecache/internal/registries"
)

const nodeLong = `node runs one cache node, or, with --role client, an API server that owns
nothing and asks the nodes.

Each flag has an environment variable that stands for it: GEECACHE_ and its name
in capitals with underscores, such as GEECACHE_CACHE_BYTES. The flag wins.

The form without a command, geecache -port=8001 -api, is the same with the peers
127.0.0.1:8001, 8002 and 8003.

On SIGTERM or Ctrl-C the node fails its readiness, tells its peers, hands what
is used most over to them, saves it (--snapshot), finishes what is in flight and ends with status 0; a
second signal ends it at once.`

const nodeExample = `  geecache node --port 8001 --peers 127.0.0.1:8001,127.0.0.1:8002
  geecache node --api --source 'postgres://app@db/app' \
      --query 'select score from scores where name = $1'
  geecache node --role client --peers 10.0.0.1:8001,10.0.0.2:8001
  GEECACHE_PORT=8002 GEECACHE_CACHE_BYTES=1GiB geecache node`

const (
	defaultPort    = 8001
	defaultAPIPort = 9999

	defaultAdminPort = 8081
)

// cacheFlags are the flags of whatever starts cache nodes.
type cacheFlags struct {
	trustFlags
	source, query        string
	groups               []string
	memoryLimit          bytesValue
	cacheBytes, hotBytes bytesValue
	maxKey, maxValue     bytesValue
	ttl, notFoundTTL     time.Duration
	hotTTL               time.Duration
	hotCopies            bool
	loadTimeout          time.Duration
	maxLoads             int
	peerTimeout, drain   time.Duration
	slowAfter            time.Duration
	hedgePercent         float64
	handoffBytes         bytesValue
	handoffTime          time.Duration
	protocol             choiceValue
	apiTimeout           time.Duration
	apiMaxInFlight       int
	slowRequest          time.Duration
	cloudwatch           string
	cloudwatchEvery      time.Duration
	cloudwatchDimensions choiceValue
	cloudwatchMetrics    []string
	logFormat            choiceValue
	logLevel             levelValue
}

func (f *cacheFlags) register(flags *pflag.FlagSet) {
	f.memoryLimit, f.cacheBytes, f.maxKey, f.maxValue = notGiven, notGiven, 16<<10, 8<<20
	f.handoffBytes = 64 << 20
	f.protocol = choiceValue{geecache.ProtocolVersion, []string{geecache.ProtocolVersion, "1.0"}}
	f.logFormat = choiceValue{"text", []string{"text", "json"}}
	f.cloudwatchDimensions = choiceValue{node.CloudWatchDimensions()[0], node.CloudWatchDimensions()}
	flags.StringVar(&f.source, "source", "", "URL of what misses are loaded from: "+strings.Join(node.SourceExamples(), ", ")+" (default "+node.DefaultSource+")")
	flags.StringVar(&f.query, "query", "", "query of an SQL source, with one parameter for the key")
	flags.StringSliceVar(&f.groups, "group", []string{node.DefaultGroup}, "name of a group; repeat it for several. The first is the API's default")
	flags.Var(&f.memoryLimit, "memory-limit", "how much memory to use (default: the control group's limit)")
	flags.Var(&f.cacheBytes, "cache-bytes", "budget of each group's main cache (default: half of the memory limit for all caches; without a limit 64MiB)")
	for _, name := range []string{"memory-limit", "cache-bytes"} {
		flags.Lookup(name).DefValue = ""
	}
	flags.Var(&f.hotBytes, "hot-bytes", "budget of each group's copies of what other nodes own (default: an eighth of --cache-bytes; in an API server all of it)")
	flags.Var(&f.maxKey, "max-key-bytes", "larger keys are refused")
	flags.Var(&f.maxValue, "max-value-bytes", "larger values are refused; the same on all nodes")
	flags.DurationVar(&f.ttl, "ttl", 0, "how long a value is kept whose source does not say; 0: until it is evicted")
	flags.DurationVar(&f.notFoundTTL, "not-found-ttl", 5*time.Second, "how long \"not found\" is kept; 0: not at all")
	flags.DurationVar(&f.hotTTL, "hot-ttl", 3*time.Second, "how long a copy of another node's value is kept, and so how stale it may be")
	flags.BoolVar(&f.hotCopies, "hot-copies", true, "keep copies of other nodes' values that are asked for often")
	flags.DurationVar(&f.loadTimeout, "load-timeout", 10*time.Second, "how long the source may take for a key")
	flags.IntVar(&f.maxLoads, "max-loads", 256, "calls of the source at a time, for each group; more wait for their turn")
	flags.DurationVar(&f.peerTimeout, "peer-timeout", 750*time.Millisecond, "how long a peer may show no sign of life before others are asked")
	flags.Var(&f.protocol, "protocol", "version of the peer protocol to speak; 1.0 behaves as nodes of that version do, next to which 1.1 works too")
	flags.Float64Var(&f.hedgePercent, "hedge-percent", 10, "how many more requests between nodes may be sent, in percent, because a peer is slow: what it has is copied to its stand-in; 0: a slow peer is waited for")
	flags.DurationVar(&f.slowAfter, "slow-after", 25*time.Millisecond, "a peer that takes longer to answer a ping, and four times as long as others, is slow")
	flags.DurationVar(&f.drain, "drain-timeout", node.DefaultDrainTimeout, "how long to finish what is in flight at the end")
	flags.Var(&f.handoffBytes, "handoff-bytes", "how much of what is used most to push to its new owners at the end; 0: nothing")
	flags.DurationVar(&f.handoffTime, "handoff-time", 5*time.Second, "for how long")
	flags.DurationVar(&f.apiTimeout, "api-timeout", 15*time.Second, "deadline of a request to the API")
	flags.IntVar(&f.apiMaxInFlight, "api-max-inflight", 4096, "requests to the API at a time; those beyond get 503")
	f.trustFlags.register(flags)
	flags.StringVar(&f.cloudwatch, "cloudwatch-endpoint", "", "forward metrics to CloudWatch: a region such as eu-central-1, or the URL of what speaks its API")
	flags.DurationVar(&f.cloudwatchEvery, "cloudwatch-interval", node.DefaultExportInterval, "how often")
	flags.Var(&f.cloudwatchDimensions, "cloudwatch-dimensions", "cluster: CloudWatch is told of the cluster and its groups; node: of each node as well, which costs for each")
	flags.StringSliceVar(&f.cloudwatchMetrics, "cloudwatch-metrics", nil, "names of the metrics that CloudWatch is told, comma separated, with * for any letters (default all); each has its price")
	flags.DurationVar(&f.slowRequest, "slow-request", time.Second, "requests to the API that take longer are logged, unless memory answers them; 0: none")
	flags.Var(&f.logFormat, "log-format", "text or json (default text; in a task of ECS json)")
	flags.Lookup("log-format").DefValue = ""
	flags.Var(&f.logLevel, "log-level", "debug, info, warn or error")
}

// complete checks the flags that have no zero value for "unset" in a Config.
func (f *cacheFlags) complete() error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"hot-ttl", f.hotTTL}, {"load-timeout", f.loadTimeout}, {"peer-timeout", f.peerTimeout},
		{"slow-after", f.slowAfter}, {"handoff-time", f.handoffTime},
		{"drain-timeout", f.drain}, {"api-timeout", f.apiTimeout}, {"cloudwatch-interval", f.cloudwatchEvery},
	} {
		if d.value <= 0 {
			return usagef("--%s is %v: use a positive duration such as 500ms", d.flag, d.value)
		}
	}
	switch {
	case !(f.hedgePercent >= 0 && f.hedgePercent <= 100):
		return usagef("--hedge-percent is %v: use 0 to 100", f.hedgePercent)
	case f.ttl < 0:
		return usagef("--ttl is %v: use a positive duration, or 0 for none", f.ttl)
	case f.notFoundTTL < 0:
		return usagef("--not-found-ttl is %v: use a positive duration, or 0 to keep nothing", f.notFoundTTL)
	case f.cacheBytes == 0:
		return usagef("--cache-bytes is 0: use a size such as 64MiB")
	case f.memoryLimit == 0:
		return usagef("--memory-limit is 0: use a size such as 256MiB, or leave it out")
	case f.maxKey <= 0 || f.maxKey > 64<<10:
		return usagef("--max-key-bytes is %v: use 1B to 64KiB", f.maxKey.String())
	case f.maxValue <= 0 || f.maxValue > 1<<30:
		return usagef("--max-value-bytes is %v: use 1B to 1GiB", f.maxValue.String())
	case f.slowRequest < 0:
		return usagef("--slow-request is %v: use a positive duration, or 0 for none", f.slowRequest)
	case f.maxLoads <= 0:
		return usagef("--max-loads is %d: use a positive number", f.maxLoads)
	case f.apiMaxInFlight <= 0:
		return usagef("--api-max-inflight is %d: use a positive number", f.apiMaxInFlight)
	}
	return nil
}

// config puts the flags into a configuration.
func (f *cacheFlags) config(log *slog.Logger) node.Config {
	g := geecache.GroupConfig{
		CacheBytes: max(int64(f.cacheBytes), 0), HotBytes: int64(f.hotBytes), TTL: f.ttl,
		NotFoundTTL: f.notFoundTTL, HotTTL: f.hotTTL, LoadTimeout: f.loadTimeout, MaxLoads: f.maxLoads,
	}
	if f.notFoundTTL == 0 {
		g.NotFoundTTL = -1
	}
	if !f.hotCopies {
		g.HotTTL = -1
	}
	hedge, handoff, slow := f.hedgePercent, int64(f.handoffBytes), f.slowRequest
	if slow == 0 {
		slow = -1
	}
	if hedge == 0 {
		hedge = -1
	}
	if handoff == 0 {
		handoff = -1
	}
	return node.Config{
		HedgePercent: hedge, HandoffBytes: handoff, HandoffTime: f.handoffTime,
		MemoryLimit: max(int64(f.memoryLimit), 0),
		Source:      f.source, Query: f.query, Groups: f.groups, Group: g,
		MaxKeyBytes: int(f.maxKey), MaxValueBytes: int(f.maxValue),
		Timings:      geecache.Timings{DeadAfter: f.peerTimeout, SlowAfter: f.slowAfter},
		DrainTimeout: f.drain, ProtocolVersion: f.protocol.value,
		API:        node.APIConfig{Timeout: f.apiTimeout, MaxInFlight: f.apiMaxInFlight, SlowRequest: slow},
		CloudWatch: f.cloudwatch, CloudWatchInterval: f.cloudwatchEvery,
		CloudWatchDimensions: f.cloudwatchDimensions.value, CloudWatchMetrics: f.cloudwatchMetrics,
		SecretFile: f.secretFile, Secret: f.secretOfEnv(), TLS: f.tls, APITokenFile: f.apiTokenFile, APIToken: f.apiTokenOfEnv(),
		Logger: log,
	}
}

// logger makes the logger that the flags ask for. Where the log of many tasks is read
// by programs, it is JSON unless a flag says otherwise.
func (f *nodeFlags) logger(flags *pflag.FlagSet, w io.Writer) *slog.Logger {
	json := f.logFormat.value == "json" || ecstask.In() && !flags.Changed("log-format")
	if !json {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: f.logLevel.Level}))
	}
	return node.NewLogger(w, f.logLevel.Level, f.cluster, cmp.Or(f.id, f.advertise, f.listen.String(), "starting"))
}

// nodeFlags are the flags of `geecache node`.
type nodeFlags struct {
	cacheFlags
	snapshotFlags
	port                int
	listen, apiListen   listenValue
	advertise, id, zone string
	registry            string
	cluster             string
	weight              float64
	peers               peersValue
	api                 bool
	role                choiceValue
	insecure            bool
	adminListen         listenValue
	adminTokenFile      string
	emf                 bool
	emfEvery            time.Duration
}

// snapshotFlags say where and when nodes save what they use most.
type snapshotFlags struct {
	snapshot      node.SnapshotConfig
	snapshotBytes bytesValue
}

func (f *snapshotFlags) register(flags *pflag.FlagSet) {
	f.snapshotBytes = node.DefaultSnapshotBytes
	flags.StringVar(&f.snapshot.URL, "snapshot", "", "where what is used most is saved, at the end and now and then, and loaded from at the start: "+strings.Join(node.SnapshotExamples(), ", "))
	flags.Var(&f.snapshotBytes, "snapshot-bytes", "how much of it to save")
	flags.DurationVar(&f.snapshot.Interval, "snapshot-interval", node.DefaultSnapshotInterval, "how often it is saved while the node runs")
	flags.DurationVar(&f.snapshot.LoadTime, "snapshot-load-time", node.DefaultSnapshotLoadTime, "how long to load at the start; 0: nothing is loaded")
	flags.DurationVar(&f.snapshot.MaxAge, "snapshot-max-age", node.DefaultSnapshotMaxAge, "older snapshots are not loaded, and are deleted: how old a value without a TTL may come back")
}

// forRegistries reports whether a variable stands for no flag, and has a meaning.
func forRegistries(environ string) bool {
	name, _, _ := strings.Cut(environ, "=")
	return slices.Contains(registries.Variables(), name)
}

// newNodeCommand returns `geecache node`.
func newNodeCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "Run one cache node, or an API server",
		Long:    nodeLong,
		Example: nodeExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			unknown, err := setFromEnv(cmd.Flags(), slices.DeleteFunc(os.Environ(), forRegistries))
			if err != nil {
				return err
			}
			cfg, err := f.nodeConfig(f.logger(cmd.Flags(), cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			if f.emf {
				cfg.EMF = cmd.OutOrStdout()
			}
			for _, name := range unknown {
				cfg.Logger.Warn("environment variable stands for no flag", "name", name)
			}
			return runNode(cmd.Context(), cfg)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *nodeFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	f.role = choiceValue{string(geecache.RoleNode), []string{string(geecache.RoleNode), string(geecache.RoleClient)}}
	flags.IntVar(&f.port, "port", 0, fmt.Sprintf("port to listen on (default %d; for a client %d)", defaultPort, defaultAPIPort))
	flags.Var(&f.listen, "listen", "address to listen on (default 127.0.0.1 with --port)")
	flags.StringVar(&f.advertise, "advertise", "", "host:port that peers reach this node at (default --listen)")
	flags.StringVar(&f.id, "id", "", "the node's identity and place on the ring (default --advertise)")
	flags.StringVar(&f.cluster, "cluster-id", "geecache", "the cluster's ID: nodes of another one are refused")
	flags.Var(&f.peers, "peers", "the cluster's nodes, as addr or id=addr, comma separated; this one may be among them")
	flags.StringVar(&f.registry, "registry", "", "URL of what tells who the cluster's nodes are, in place of --peers: "+strings.Join(registries.Examples(), ", "))
	flags.Var(&f.role, "role", "node: owns keys and loads them; client: serves the API, owns nothing and never loads")
	flags.BoolVar(&f.api, "api", false, "serve the API too, on --api-listen")
	f.apiListen = node.DefaultAPIListen
	flags.Var(&f.apiListen, "api-listen", "where --api serves")
	flags.StringVar(&f.zone, "zone", "", "where the node runs, e.g. an availability zone")
	flags.Float64Var(&f.weight, "weight", 0, "the node's share of the keys, relative to others, at most 100 (default what a file: of JSON says, else 1)")
	flags.Var(&f.adminListen, "admin-listen", "where /metrics, /statusz, /topz and pprof are served, and nowhere else then")
	flags.StringVar(&f.adminTokenFile, "admin-token-file", "", "file of a token that /metrics, /statusz, /topz and pprof take; a second line is accepted too")
	flags.BoolVar(&f.insecure, "insecure", false, "allow to listen beyond this machine without a secret or --tls-ca: whoever reaches the port can read every value")
	flags.BoolVar(&f.emf, "emf", false, "write metrics to the standard output as CloudWatch's embedded metric format, for a log driver to bring there")
	flags.DurationVar(&f.emfEvery, "emf-interval", node.DefaultExportInterval, "how often; the last ones at the end")
	f.cacheFlags.register(flags)
	f.snapshotFlags.register(flags)
	completeChoices(cmd, "role", f.role.choices...)
	completeChoices(cmd, "protocol", f.protocol.choices...)
	completeChoices(cmd, "cloudwatch-dimensions", f.cloudwatchDimensions.choices...)
	completeChoices(cmd, "log-format", "text", "json")
	completeChoices(cmd, "log-level", "debug", "info", "warn", "error")
}

// completeChoices lets shells complete a flag's words.
func completeChoices(cmd *cobra.Command, flag string, choices ...string) {
	// It fails only for a flag that there is not; a test runs it.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp))
}

// nodeConfig puts the flags into a configuration and checks it.
func (f *nodeFlags) nodeConfig(log *slog.Logger) (node.Config, error) {
	if err := f.complete(); err != nil {
		return node.Config{}, err
	}
	cfg := f.config(log)
	cfg.Role = geecache.Role(f.role.value)
	port := f.port
	switch {
	case port < 0 || port > 65535:
		return cfg, usagef("--port is %d: use a number from 1 to 65535", port)
	case port == 0 && cfg.Role == geecache.RoleClient:
		port = defaultAPIPort
	case port == 0:
		port = defaultPort
	}
	cfg.Listen = f.listen.withPort(port)
	if cfg.Listen == "" {
		cfg.Listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	} else if _, p, err := net.SplitHostPort(cfg.Listen); err == nil && f.port != 0 && p != strconv.Itoa(port) {
		return cfg, usagef("--listen is %s and --port is %d: leave one of them out", cfg.Listen, port)
	}
	cfg.Advertise, cfg.ID, cfg.Cluster, cfg.Zone, cfg.Weight = f.advertise, f.id, f.cluster, f.zone, f.weight
	cfg.Peers, cfg.Registry, cfg.Insecure = f.peers, f.registry, f.insecure
	cfg.AdminTokenFile = f.adminTokenFile
	if cfg.EMFInterval = f.emfEvery; f.emfEvery == 0 {
		return cfg, usagef("--emf-interval is 0: use at least 1s")
	}
	if f.adminListen != "" {
		cfg.AdminListen = f.adminListen.withPort(defaultAdminPort)
	}
	if err := f.setSnapshot(&cfg); err != nil {
		return cfg, err
	}
	if f.api {
		cfg.APIListen = f.apiListen.withPort(defaultAPIPort)
	}
	if err := cfg.Validate(); err != nil {
		return cfg, &usageError{err}
	}
	return cfg, nil
}

// setSnapshot puts the flags of snapshots into a configuration.
func (f *snapshotFlags) setSnapshot(cfg *node.Config) error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"snapshot-interval", f.snapshot.Interval}, {"snapshot-max-age", f.snapshot.MaxAge}} {
		if d.value <= 0 {
			return usagef("--%s is %v: use a positive duration such as 5m", d.flag, d.value)
		}
	}
	if f.snapshotBytes <= 0 {
		return usagef("--snapshot-bytes is %v: use a size such as 64MiB, or leave --snapshot out", f.snapshotBytes.String())
	}
	cfg.Snapshot = f.snapshot
	cfg.Snapshot.Bytes = int64(f.snapshotBytes)
	switch {
	case f.snapshot.LoadTime < 0:
		return usagef("--snapshot-load-time is %v: use a positive duration, or 0 to load nothing", f.snapshot.LoadTime)
	case f.snapshot.LoadTime == 0:
		cfg.Snapshot.LoadTime = -1
	}
	return nil
}

// runNode runs a node until a signal ends it. A second signal ends the process
// at once: a moment after the first one, signals have their usual effect again.
func runNode(ctx context.Context, cfg node.Config) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(sameSignal, stop) })
	err := node.Run(ctx, cfg)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: what was in flight after --drain-timeout %v has been cut off", err, cfg.DrainTimeout)
	}
	return err
}
