package geecache

import (
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// read receives frames until the connection ends.
func (cc *clientConn) read() {
	for {
		if err := cc.readBatch(); err != nil {
			cc.fail(err)
			return
		}
		n, err := cc.frames.fill()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("connection closed by the peer")
			}
			cc.fail(err)
			return
		}
		cc.client.bytesIn.Add(int64(n))
		cc.lastRecv.Store(cc.now())
		cc.askedAt.Store(0)
	}
}

// replyBatch is how many replies are handed out under one lock.
const replyBatch = 64

// readBatch handles the frames that have been read.
func (cc *clientConn) readBatch() error {
	var f frame
	for {
		ok, err := cc.frames.next(&f)
		if !ok || err != nil || f.kind != kindReply {
			cc.handOut()
		}
		if !ok || err != nil {
			return err
		}
		if err := cc.handle(&f); err != nil {
			return err
		}
	}
}

func (cc *clientConn) handle(f *frame) error {
	switch f.kind {
	case kindReply:
		return cc.handleReply(f)
	case kindPiece:
		return cc.handlePiece(f)
	case kindPing:
		n, err := parseNumber(f)
		if err == nil {
			cc.w.answerPing(n)
			cc.w.mu.Lock()
			cc.w.postLocked()
			cc.w.mu.Unlock()
		}
		return err
	case kindPong:
		n, err := parseNumber(f)
		if err == nil {
			cc.pong(int64(n))
		}
		return err
	case kindDraining:
		cc.noteDraining(keepsMemory(f))
	case kindAnnounce:
		return cc.handleAnnounce(f)
	case kindGoaway:
		code, reason, err := parseGoaway(f)
		if err != nil {
			return err
		}
		return &RemoteError{Node: cc.client.name(), Code: code, Message: reason}
	}
	return nil // others are not known
}

// noteDraining: the peer takes no new requests, but for what it has in memory if it
// says so; those in flight will be answered.
func (cc *clientConn) noteDraining(memory bool) {
	cc.w.mu.Lock()
	defer cc.w.mu.Unlock()
	if cc.leaving.Load() || cc.remembers.Load() {
		return
	}
	cc.remembers.Store(memory)
	cc.leaving.Store(!memory)
	close(cc.draining)
	if memory {
		return // what is sent to it in this moment is answered, too: "draining" at worst
	}
	if cc.used == 0 {
		cc.emptied <- struct{}{}
	}
}

func (cc *clientConn) handleReply(f *frame) error {
	var r replyFrame
	if err := parseReply(f, &r); err != nil {
		return err
	}
	if uint64(r.total) > uint64(cc.client.cfg.maxValue) {
		return cc.refuseValue(&r)
	}
	if r.flags&flagMore != 0 {
		cc.w.mu.Lock()
		waits := cc.callLocked(r.id) != nil
		cc.w.mu.Unlock()
		if waits {
			v := &arrivingValue{reply: r.PeerReply, total: int(r.total)}
			v.value.Grow(v.total)
			cc.values[r.id] = v
		}
		return nil
	}
	// The value becomes an allocation of its own: it may be kept for long, and
	// must not keep the read buffer alive.
	if len(r.Value) > 0 || r.Code == CodeOK {
		r.Value = append(make([]byte, 0, len(r.Value)), r.Value...)
	} else {
		r.Value = nil
	}
	if cc.replies = append(cc.replies, r); len(cc.replies) == replyBatch {
		cc.handOut()
	}
	return nil
}

// handOut ends the calls whose replies have been gathered.
func (cc *clientConn) handOut() {
	if len(cc.replies) == 0 {
		return
	}
	cc.ended = cc.ended[:0]
	cc.w.mu.Lock()
	for i := range cc.replies {
		cc.ended = append(cc.ended, cc.takeLocked(cc.replies[i].id))
	}
	chain := cc.chain.wanted(len(cc.ended), cc.used)
	cc.w.mu.Unlock()
	if chain {
		cc.wakeInTurn()
	} else {
		for i, k := range cc.ended {
			if k != nil {
				k.reply = cc.replies[i].PeerReply
				k.end()
			}
		}
	}
	clear(cc.replies)
	clear(cc.ended)
	cc.replies = cc.replies[:0]
}

// refuseValue answers a call whose value is too large. The pieces that may
// follow find no call and are passed over.
func (cc *clientConn) refuseValue(r *replyFrame) error {
	if r.flags&flagMore != 0 {
		cc.w.post(kindCancel, r.id)
	}
	if k := cc.take(r.id); k != nil {
		k.reply = PeerReply{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("value of %d bytes; the limit here is %d", r.total, cc.client.cfg.maxValue),
			Version: r.Version, From: r.From, Took: r.Took, Epoch: r.Epoch,
		}
		k.end()
	}
	return nil
}

func (cc *clientConn) handlePiece(f *frame) error {
	var p pieceFrame
	if err := parsePiece(f, &p); err != nil {
		return err
	}
	v := cc.values[p.id]
	if v == nil {
		return nil // nobody waits for it
	}
	if p.flags&flagAbort != 0 {
		delete(cc.values, p.id)
		if k := cc.take(p.id); k != nil { // the peer gave up by itself
			k.reply = PeerReply{Code: CodeInternal, Message: "the value was cut off"}
			k.end()
		}
		return nil
	}
	if got := v.value.Len(); int(p.offset) != got || len(p.value) == 0 || len(p.value) > v.total-got {
		return fmt.Errorf("%w: piece of %d bytes at %d of %d, %d there", errFrame, len(p.value), p.offset, v.total, got)
	}
	v.value.Write(p.value)
	if v.value.Len() < v.total {
		return nil
	}
	delete(cc.values, p.id)
	if k := cc.take(p.id); k != nil {
		k.reply = v.reply
		k.reply.Value = unsafe.Slice(unsafe.StringData(v.value.String()), v.total) // nobody has the string
		k.end()
	}
	return nil
}
