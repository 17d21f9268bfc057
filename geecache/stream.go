package geecache

import (
	"time"
)

// streamProtocol is the token of the Upgrade header and the ALPN name. Its
// number is the protocol's major version.
const streamProtocol = "geecache/1"

// protocolVersion is the version of the stream that this package speaks.
const protocolVersion = "1.0"

// hello is what two nodes tell each other before the first frame.
type hello struct {
	Cluster string
	ID      string
	Version string
	Role    Role
	Epoch   uint64
}

// streamTimings are the durations of the stream. Zero fields get defaults.
type streamTimings struct {
	dialTimeout      time.Duration // 1 s: connect and handshake
	handshakeTimeout time.Duration // 750 ms: the handshake alone
	pingBusy         time.Duration // 150 ms: silence, while requests wait, after which to ping
	deadAfter        time.Duration // 750 ms: silence, while requests wait, that means death
	pingIdle         time.Duration // 1 s: silence, while none wait, after which to ping
	idleDead         time.Duration // 3 s: silence, while none wait, that means death
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
