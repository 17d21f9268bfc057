package geecache

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The stream is what nodes speak to each other: one connection between two
// nodes, upgraded from HTTP, on which each direction is a sequence of frames
// (frame.go). A streamClient keeps one such connection to a peer and so knows the
// peer's health; a streamServer answers those that others open. docs/STREAM.md
// describes the protocol.

// streamProtocol is the token of the Upgrade header and the ALPN name. Its
// number is the protocol's major version.
const streamProtocol = "geecache/1"

// ProtocolVersion is the version of the peer protocols, "major.minor", that a node
// speaks unless [Config.ProtocolVersion] says otherwise. The previous and the next
// minor version are understood.
const ProtocolVersion = "1.1"

// Two nodes speak the lower one of their minor versions. These brought something new.
const (
	minorLife = 1 // announce, push, and memory that is asked while its node drains
)

// protocolVersions are those that a node can speak.
var protocolVersions = [...]string{ProtocolVersion, "1.0"}

// The headers that carry a hello, and with it what the dialer expects. Values are
// escaped as in a URL's path, so that any ID can be told.
const (
	headerCluster = "Geecache-Cluster"
	headerNode    = "Geecache-Node"
	headerVersion = "Geecache-Version"
	headerRole    = "Geecache-Role"
	headerZone    = "Geecache-Zone"
	headerEpoch   = "Geecache-Epoch"
	headerExpect  = "Geecache-Expect" // the ID of the node that the dialer believes to dial
	headerRefusal = "Geecache-Refusal"
)

// streamPath is where the upgrade is asked for.
const streamPath = "/_geecache/"

func escapeHeader(s string) string { return url.PathEscape(s) }

// hello is what two nodes tell each other before the first frame.
type hello struct {
	Cluster string
	ID      string
	Version string // "major.minor" of the protocol; empty means ProtocolVersion
	Role    Role
	Epoch   uint64
	Zone    string // "" if it does not say
}

// set writes the hello into headers.
func (h hello) set(header http.Header) {
	header.Set(headerCluster, escapeHeader(h.Cluster))
	header.Set(headerNode, escapeHeader(h.ID))
	header.Set(headerVersion, escapeHeader(h.version()))
	header.Set(headerRole, escapeHeader(string(h.Role)))
	header.Set(headerEpoch, strconv.FormatUint(h.Epoch, 16))
	if _, minor, _ := parseVersion(h.version()); h.Zone != "" && minor >= minorLife {
		header.Set(headerZone, escapeHeader(h.Zone))
	}
}

// readHello reads a hello from headers. It fails if they are not a node's.
func readHello(header http.Header) (hello, error) {
	var h hello
	var err error
	text := func(name string) string {
		s, e := url.PathUnescape(header.Get(name))
		if e != nil && err == nil {
			err = fmt.Errorf("header %s: %w", name, e)
		}
		return s
	}
	h.Cluster, h.ID, h.Version, h.Role = text(headerCluster), text(headerNode), text(headerVersion), Role(text(headerRole))
	h.Zone = text(headerZone)
	if err != nil {
		return hello{}, err
	}
	if h.Version == "" {
		return hello{}, fmt.Errorf("header %s is missing", headerVersion)
	}
	if e := header.Get(headerEpoch); e != "" {
		if h.Epoch, err = strconv.ParseUint(e, 16, 64); err != nil {
			return hello{}, fmt.Errorf("header %s: %w", headerEpoch, err)
		}
	}
	return h, nil
}

// checkVersion reports whether two versions understand each other: the same
// major version, and minor versions that differ by one at most. The error wraps
// ErrRefused and names both.
func checkVersion(here, there string) error {
	major, minor, ok := parseVersion(here)
	major2, minor2, ok2 := parseVersion(there)
	if ok && ok2 && major == major2 && minor-minor2 <= 1 && minor2-minor <= 1 {
		return nil
	}
	return refusedf(RefusedVersion, "this node speaks protocol version %s, the other one %q; update the older one", here, there)
}

// spoken returns the minor version that two nodes speak which understand each other.
func spoken(here, there hello) int {
	_, a, _ := parseVersion(here.version())
	_, b, _ := parseVersion(there.version())
	return min(a, b)
}

// version returns the hello's version, in full.
func (h hello) version() string {
	if h.Version == "" {
		return ProtocolVersion
	}
	return h.Version
}

func parseVersion(s string) (major, minor int, ok bool) {
	a, b, found := strings.Cut(s, ".")
	major, err := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, found && err == nil && err2 == nil && major >= 0 && minor >= 0
}

// checkCluster fails if two nodes are not of one cluster.
func checkCluster(here, there string) error {
	if here == there {
		return nil
	}
	return refusedf(RefusedCluster, "this node is of cluster %q, the other one of %q", here, there)
}

// streamTimings are the durations of the stream. Zero fields get defaults.
type streamTimings struct {
	dialTimeout      time.Duration // 1 s: connect and handshake
	handshakeTimeout time.Duration // 750 ms: the handshake alone
	pingBusy         time.Duration // 150 ms: silence, while requests wait, after which to ping
	deadAfter        time.Duration // 750 ms: silence, while requests wait, that means death
	deadMost         time.Duration // 900 ms: the same for a peer that is known to take long
	pingIdle         time.Duration // 1 s: silence, while none wait, after which to ping
	idleDead         time.Duration // 3 s: silence, while none wait, that means death; for a server, 3 times that
	redialMin        time.Duration // 50 ms: the shortest pause between attempts to connect
	redialMax        time.Duration // 1 s: the longest
	drainGrace       time.Duration // 30 s: for requests in flight to a draining peer
	writeTimeout     time.Duration // 9 s: for one write
}

func (t streamTimings) withDefaults() streamTimings {
	for _, f := range []struct {
		d   *time.Duration
		def time.Duration
	}{
		{&t.dialTimeout, time.Second},
		{&t.handshakeTimeout, 750 * time.Millisecond},
		{&t.pingBusy, 150 * time.Millisecond},
		{&t.deadAfter, 750 * time.Millisecond},
		{&t.deadMost, 900 * time.Millisecond},
		{&t.pingIdle, time.Second},
		{&t.idleDead, 3 * time.Second},
		{&t.redialMin, 50 * time.Millisecond},
		{&t.redialMax, time.Second},
		{&t.drainGrace, 30 * time.Second},
		{&t.writeTimeout, 9 * time.Second},
	} {
		if *f.d <= 0 {
			*f.d = f.def
		}
	}
	return t
}

// peerState is what a client knows of its peer's health.
type peerState int32

const (
	peerConnecting peerState = iota // no attempt to connect has ended yet
	peerUp
	peerDown
	peerDraining
)

var peerStateNames = [...]string{"connecting", "up", "down", "draining"}

// String returns "connecting", "up", "down" or "draining".
func (s peerState) String() string {
	if s >= 0 && int(s) < len(peerStateNames) {
		return peerStateNames[s]
	}
	return "unknown"
}
