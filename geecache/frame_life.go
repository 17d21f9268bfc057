package geecache

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// The frames that version 1.1 brought: how a node comes and goes.
const (
	kindAnnounce frameKind = 9  // who I am, or, to a client, who else is there
	kindPush     frameKind = 10 // keep this for me: I leave

	drainingFixed = 16
	announceFixed = 32
	pushFixed     = 40

	// flagMemory of a draining frame: memory is still asked, with ModeMemory.
	flagMemory = 1 << 0

	// pushMost is the most that a push carries of a value: it must not hold up for
	// long what comes behind it, and fit into what any node reads.
	pushMost = pieceSize - maxGroupName
)

// appendDraining appends a draining frame as version 1.1 has it.
func appendDraining(b []byte, grace time.Duration) []byte {
	b = appendHeader(b, kindDraining, drainingFixed, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(grace))
	return binary.LittleEndian.AppendUint64(b, flagMemory)
}

// keepsMemory reports whether the node that sent a draining frame still wants its
// memory to be asked.
func keepsMemory(f *frame) bool {
	return len(f.fixed) >= drainingFixed && binary.LittleEndian.Uint64(f.fixed[8:])&flagMemory != 0
}

// An announcement is what a member says of itself.
type announcement struct {
	Peer
	run   uint64 // tells one run of the member's process from another; 0: not known
	epoch uint64 // of its view, if it is the member itself that speaks
}

// appendAnnounce appends the frame in which a node tells of a member.
func appendAnnounce(b []byte, p *announcement) []byte {
	le := binary.LittleEndian
	b = appendHeader(b, kindAnnounce, announceFixed, len(p.ID)+len(p.Addr)+len(p.Role)+len(p.Zone))
	b = le.AppendUint64(b, math.Float64bits(p.Weight))
	for _, s := range []string{p.ID, p.Addr, string(p.Role), p.Zone} {
		b = le.AppendUint16(b, uint16(len(s)))
	}
	b = le.AppendUint64(b, p.run)
	b = le.AppendUint64(b, p.epoch)
	b = append(b, p.ID...)
	b = append(b, p.Addr...)
	b = append(b, p.Role...)
	return append(b, p.Zone...)
}

// parseAnnounce decodes it. What it tells has not been checked.
func parseAnnounce(f *frame, p *announcement) error {
	if len(f.fixed) < announceFixed {
		return fmt.Errorf("%w: announce of %d bytes", errFrame, len(f.fixed))
	}
	le, rest := binary.LittleEndian, f.rest
	p.Weight = math.Float64frombits(le.Uint64(f.fixed))
	for i, to := range []*string{&p.ID, &p.Addr, (*string)(&p.Role), &p.Zone} {
		n := int(le.Uint16(f.fixed[8+2*i:]))
		if n > len(rest) || n > maxIDBytes {
			return fmt.Errorf("%w: text of %d bytes in an announce of %d", errFrame, n, len(f.rest))
		}
		*to, rest = string(rest[:n]), rest[n:]
	}
	p.run, p.epoch = le.Uint64(f.fixed[16:]), le.Uint64(f.fixed[24:])
	return nil
}

// A pushFrame is an entry that its owner gives away.
type pushFrame struct {
	id      uint64
	ttl     time.Duration // what is left of it; 0: no limit
	version uint64
	epoch   uint64 // of the view of the node that leaves, without itself
	flags   uint8  // the entry's
	group   string
	key     string
	value   []byte
}

// pushable reports whether a push can carry an entry.
func pushable(group, key string, value []byte) bool {
	return len(group) <= maxGroupName && len(key) <= math.MaxUint16 && len(value) <= pushMost
}

func pushSize(p *pushFrame) int {
	return frameHeader + pushFixed + len(p.group) + len(p.key) + len(p.value)
}

func appendPush(b []byte, p *pushFrame) []byte {
	le := binary.LittleEndian
	b = appendHeader(b, kindPush, pushFixed, len(p.group)+len(p.key)+len(p.value))
	b = le.AppendUint64(b, p.id)
	b = le.AppendUint64(b, uint64(p.ttl))
	b = le.AppendUint64(b, p.version)
	b = le.AppendUint64(b, p.epoch)
	b = le.AppendUint16(b, uint16(len(p.group)))
	b = le.AppendUint16(b, uint16(len(p.key)))
	b = append(b, p.flags, 0, 0, 0)
	b = append(b, p.group...)
	b = append(b, p.key...)
	return append(b, p.value...)
}

// parsePush decodes a push. The group and the key are returned as bytes that, like
// its value, alias the frame.
func parsePush(f *frame, p *pushFrame) (group, key []byte, err error) {
	if len(f.fixed) < pushFixed {
		return nil, nil, fmt.Errorf("%w: push of %d bytes", errFrame, len(f.fixed))
	}
	le := binary.LittleEndian
	p.id = le.Uint64(f.fixed)
	p.ttl = time.Duration(le.Uint64(f.fixed[8:]))
	p.version = le.Uint64(f.fixed[16:])
	p.epoch = le.Uint64(f.fixed[24:])
	n, m := int(le.Uint16(f.fixed[32:])), int(le.Uint16(f.fixed[34:]))
	p.flags = f.fixed[36]
	if n+m > len(f.rest) || p.ttl < 0 {
		return nil, nil, fmt.Errorf("%w: group and key of %d bytes in a push of %d", errFrame, n+m, len(f.rest))
	}
	p.value = f.rest[n+m:]
	return f.rest[:n], f.rest[n : n+m], nil
}
