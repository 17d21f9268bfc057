package geecache

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A cluster's secret is proved and never sent: whoever asks for a proof gets a
// keyed hash over both sides' random numbers and over what both say of
// themselves. So a proof is of use for one handshake between two nodes alone.

// minSecretBytes is the shortest secret that is taken. Who has seen a proof can
// try secrets at leisure, so it should be drawn at random.
const minSecretBytes = 16

// checkSecrets returns an error if one of the secrets is no good.
func checkSecrets(secrets []string) error {
	if len(secrets) == 0 {
		return errors.New("there is no secret: give one, or leave Config.Secrets nil")
	}
	for i, s := range secrets {
		if len(s) < minSecretBytes {
			return fmt.Errorf("secret %d has %d bytes: use at least %d random ones", i+1, len(s), minSecretBytes)
		}
	}
	return nil
}

// A Refusal says in a word why a handshake was refused.
type Refusal string

// The reasons for a refusal.
const (
	RefusedSecret  Refusal = "secret"  // the cluster's secrets differ, or one side has none
	RefusedCluster Refusal = "cluster" // another cluster's ID
	RefusedNode    Refusal = "node"    // another node than the one that was to be dialed
	RefusedVersion Refusal = "version" // protocol versions that do not understand each other
	RefusedOther   Refusal = "other"   // draining, overloaded, or no handshake at all
)

var refusals = [...]Refusal{RefusedSecret, RefusedCluster, RefusedNode, RefusedVersion, RefusedOther}

// stranger reports whether the reason is that the other side is none of us.
func (r Refusal) stranger() bool { return r == RefusedSecret || r == RefusedCluster }

// A refusedError is an [ErrRefused] with its reason.
type refusedError struct {
	reason Refusal
	text   string
}

func (e *refusedError) Error() string { return ErrRefused.Error() + ": " + e.text }
func (e *refusedError) Unwrap() error { return ErrRefused }

func refusedf(reason Refusal, format string, args ...any) error {
	return &refusedError{reason, fmt.Sprintf(format, args...)}
}

// NewRefusal returns an [ErrRefused] with its reason, for those who find out
// outside of this package that a node is none of the cluster's.
func NewRefusal(reason Refusal, text string) error { return refusedf(reason, "%s", text) }

// RefusalOf returns why a handshake was refused, empty if err does not tell of
// a refusal.
func RefusalOf(err error) Refusal {
	var e *refusedError
	switch {
	case errors.As(err, &e):
		return e.reason
	case errors.Is(err, ErrRefused):
		return RefusedOther
	}
	return ""
}

// parseRefusal is the reverse of a Refusal's text; anything else is RefusedOther.
func parseRefusal(s string) Refusal {
	for _, r := range refusals {
		if string(r) == s {
			return r
		}
	}
	return RefusedOther
}

// refusalCounts counts refused handshakes by reason.
type refusalCounts [len(refusals)]atomic.Int64

func (c *refusalCounts) add(r Refusal) {
	for i := range refusals {
		if refusals[i] == r {
			c[i].Add(1)
		}
	}
}

// all returns the count for each reason.
func (c *refusalCounts) all() map[Refusal]int64 {
	by := make(map[Refusal]int64, len(c))
	for i := range c {
		by[refusals[i]] = c[i].Load()
	}
	return by
}

func (c *refusalCounts) sum() (sum int64) {
	for i := range c {
		sum += c[i].Load()
	}
	return sum
}

// nonceBytes is the size of the random number that each side of a handshake
// draws.
const nonceBytes = 32

func newNonce() string {
	var b [nonceBytes]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// checkNonce fails if s is not what newNonce makes.
func checkNonce(s string) error {
	if b, err := hex.DecodeString(s); err != nil || len(b) != nonceBytes {
		return fmt.Errorf("header %s is %q: use %d bytes in hexadecimal", headerNonce, abbreviate(s), nonceBytes)
	}
	return nil
}

// A transcript is what both sides of a handshake have seen.
type transcript struct {
	clientNonce, serverNonce string
	client                   hello
	expect                   string // the ID of the node that the client wants
	server                   hello  // zero in the client's proof, which comes first
}

// The directions of a proof: what one side sends is of no use to the other.
const (
	proofOfClient = "geecache stream: client"
	proofOfServer = "geecache stream: server"
)

// proof returns the proof that whoever made it knows the secret.
func (t *transcript) proof(secret, direction string) string {
	fields := []string{direction, t.clientNonce, t.serverNonce, t.expect}
	for _, h := range []hello{t.client, t.server} {
		fields = append(fields, h.Cluster, h.ID, h.Version, string(h.Role), epochText(h.Epoch))
	}
	return seal(secret, fields...)
}

// seal returns a keyed hash over the fields, in hexadecimal. Each field is told
// with its length, so that no two lists of fields look the same.
func seal(secret string, fields ...string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	for _, f := range fields {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(f)))
		mac.Write(n[:])
		mac.Write([]byte(f))
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// sealedBy returns the secret that sealed the fields, if it is one of these.
func sealedBy(secrets []string, sealed string, fields func(secret string) string) (string, bool) {
	found, ok := "", false
	for _, s := range secrets {
		if hmac.Equal([]byte(fields(s)), []byte(strings.ToLower(sealed))) {
			found, ok = s, true
		}
	}
	return found, ok
}

// quietFor is for how long further refusals for one reason are not worth a
// warning: a stranger that dials on and on must not fill the log.
const quietFor = 10 * time.Second

// A refusalLog logs the refusals of a node.
type refusalLog struct {
	mu   sync.Mutex // guards last
	last map[Refusal]time.Time
}

// due reports whether a refusal is worth a line, which then is written.
func (l *refusalLog) due(reason Refusal) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, ok := l.last[reason]; ok && now.Sub(last) < quietFor {
		return false
	}
	if l.last == nil {
		l.last = make(map[Refusal]time.Time)
	}
	l.last[reason] = now
	return true
}

func (l *refusalLog) log(to *slog.Logger, reason Refusal, from string, err error) {
	level := slog.LevelDebug
	if reason != RefusedOther && l.due(reason) {
		level = slog.LevelWarn
	}
	to.Log(context.Background(), level, "handshake refused", "from", from, "reason", reason, "err", err)
}
