package geecache

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What version 1.0 of the protocol is on the wire, byte for byte, as docs/STREAM.md
// says and nodes of that version send it. It is written out here, so that a change
// on both sides at once cannot go unnoticed.

const upgrade10 = "GET /_geecache/ HTTP/1.1\r\n" +
	"Host: 10.0.3.7:7946\r\n" +
	"Connection: Upgrade\r\n" +
	"Geecache-Cluster: shop\r\n" +
	"Geecache-Epoch: 9f3c5a1d20b7e644\r\n" +
	"Geecache-Expect: cache-3\r\n" +
	"Geecache-Node: 10.0.1.4:7946\r\n" +
	"Geecache-Role: node\r\n" +
	"Geecache-Version: 1.0\r\n" +
	"Upgrade: geecache/1\r\n" +
	"\r\n"

const switched10 = "HTTP/1.1 101 Switching Protocols\r\n" +
	"Connection: Upgrade\r\n" +
	"Geecache-Cluster: shop\r\n" +
	"Geecache-Epoch: 9f3c5a1d20b7e644\r\n" +
	"Geecache-Node: cache-3\r\n" +
	"Geecache-Role: node\r\n" +
	"Geecache-Version: 1.0\r\n" +
	"Upgrade: geecache/1\r\n" +
	"\r\n"

func hello10(id string) func() hello {
	return func() hello {
		return hello{Cluster: "shop", ID: id, Version: "1.0", Role: RoleNode, Epoch: 0x9f3c5a1d20b7e644, Zone: "told from 1.1 on"}
	}
}

func TestUpgradeOfVersion10(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		dialed := make(chan net.Conn, 1)
		dialed <- here
		c := newStreamClient(streamClientConfig{
			self: hello10("10.0.1.4:7946"), addr: "10.0.3.7:7946", peer: Peer{ID: "cache-3", Addr: "10.0.3.7:7946"},
			dial: dialChannel(dialed),
		})
		defer c.Close()
		got := make([]byte, len(upgrade10))
		if _, err := io.ReadFull(there, got); err != nil || string(got) != upgrade10 {
			t.Fatalf("%v, the request is\n%s\nand in version 1.0 it was\n%s", err, got, upgrade10)
		}
		if _, err := io.WriteString(there, switched10); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if st := c.State(); st != peerUp {
			t.Errorf("after the answer of a node of version 1.0 the peer is %v: %v", st, c.stats().lastErr)
		}
	})
}

func TestAnswerOfVersion10(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{self: hello10("cache-3"), handler: testHandler{now: echo}})
		defer n.stop()
		conn, err := n.dial(t.Context(), "tcp", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, upgrade10); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(switched10))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != switched10 {
			t.Fatalf("%v, the answer is\n%s\nand in version 1.0 it was\n%s", err, got, switched10)
		}
	})
}

// dialChannel dials what the channel yields.
func dialChannel(conns chan net.Conn) dialFunc {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case c := <-conns:
			return c, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func TestFramesOfVersion10(t *testing.T) {
	request := PeerRequest{Group: "scores", Key: "Tom", Mode: ModeStandIn, Epoch: 0x0102030405060708}
	reply := PeerReply{
		Value: []byte("630"), TTL: time.Second, Version: 0x1112131415161718, From: FromLoad,
		Took: time.Millisecond, Epoch: 0x0102030405060708,
	}
	failed := PeerReply{Code: CodeOverloaded, Message: "busy", RetryAfter: time.Second}
	for name, frame := range map[string]struct {
		got  []byte
		want string // hexadecimal; spaces separate the fields
	}{
		"request": {
			appendRequest(nil, 0x0000000100000002, &request, 2*time.Second),
			"25000000 01 01 1c00 0200000001000000 0807060504030201 0094357700000000 0600 01 00 73636f726573 546f6d",
		},
		"reply": {
			appendReply(nil, 0x0000000100000002, &reply),
			"3f000000 01 02 3c00 0200000001000000 00ca9a3b00000000 1817161514131211 40420f0000000000 0807060504030201 " +
				"0000000000000000 03000000 0000 0000 00 04 0000 363330",
		},
		"failure": {
			appendReply(nil, 3, &failed),
			"40000000 01 02 3c00 0300000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000 " +
				"00ca9a3b00000000 00000000 0400 0000 03 00 0000 62757379",
		},
		"piece": {
			appendPiece(nil, &pieceFrame{id: 2, offset: 0x4000, value: []byte("abc")}),
			"13000000 01 03 1000 0200000000000000 00400000 0000 0000 616263",
		},
		"cancel":   {appendNumber(nil, kindCancel, 2), "08000000 01 04 0800 0200000000000000"},
		"ping":     {appendNumber(nil, kindPing, 7), "08000000 01 05 0800 0700000000000000"},
		"pong":     {appendNumber(nil, kindPong, 7), "08000000 01 06 0800 0700000000000000"},
		"draining": {appendNumber(nil, kindDraining, uint64(30*time.Second)), "08000000 01 07 0800 00ac23fc06000000"},
		"goaway":   {appendGoaway(nil, CodeBadRequest, "no"), "06000000 01 08 0400 09 000000 6e6f"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(frame.want, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(frame.got, want) {
			t.Errorf("%s is\n%x\nand in version 1.0 it was\n%x", name, frame.got, want)
		}
	}
}

func TestNodesOfTwoMinorVersionsWorkTogether(t *testing.T) {
	for _, versions := range [][2]string{{"1.0", "1.1"}, {"1.1", "1.0"}, {"1.0", "1.0"}} {
		src := &testSource{}
		nodes := startNodes(t, src, GroupConfig{}, Config{ProtocolVersion: versions[0]}, Config{ProtocolVersion: versions[1]})
		for i, n := range nodes {
			wantCount(t, "version that the node tells", n.Stats().Version, versions[i])
		}
		for i := range 100 {
			key := "key-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
			mustGet(t, nodes[0].Group("g"), key)
			mustGet(t, nodes[1].Group("g"), key)
			wantCount(t, "loads of "+key, src.count(key), 1)
		}
	}
}

func TestVersionThatNobodySpeaksIsRefused(t *testing.T) {
	for _, v := range []string{"1.2", "2.0", "0.9", "new"} {
		err := Config{ProtocolVersion: v}.Validate()
		if err == nil || !strings.Contains(err.Error(), "ProtocolVersion") || !strings.Contains(err.Error(), "1.0") {
			t.Errorf("ProtocolVersion %s: %v", v, err)
		}
	}
	// A node that is two versions behind is told so, by name.
	for _, pair := range [][2]string{{"1.0", "1.2"}, {"1.1", "1.3"}, {"1.1", "0.9"}, {"1.0", "0.1"}} {
		err := checkVersion(pair[0], pair[1])
		wantErr(t, err, ErrRefused)
		for _, v := range pair {
			if !strings.Contains(err.Error(), v) {
				t.Errorf("%q does not name version %s", err, v)
			}
		}
	}
}

func TestFramesOfVersion11(t *testing.T) {
	a := announcement{Peer: Peer{ID: "b", Addr: "b:1", Role: RoleNode, Zone: "z", Weight: 1}, run: 2, epoch: 3}
	push := pushFrame{id: 4, ttl: time.Second, version: 5, epoch: 6, flags: flagNotFound, group: "g", key: "key", value: []byte("v")}
	for name, f := range map[string]struct {
		got  []byte
		want string
	}{
		"draining": {appendDraining(nil, time.Second), "10000000 01 07 1000 00ca9a3b00000000 0100000000000000"},
		"announce": {
			appendAnnounce(nil, &a),
			"29000000 01 09 2000 000000000000f03f 0100 0300 0400 0100 0200000000000000 0300000000000000 62 623a31 6e6f6465 7a",
		},
		"push": {
			appendPush(nil, &push),
			"2d000000 01 0a 2800 0400000000000000 00ca9a3b00000000 0500000000000000 0600000000000000 0100 0300 01 000000 67 6b6579 76",
		},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(f.want, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(f.got, want) {
			t.Errorf("%s is\n%x, want\n%x", name, f.got, want)
		}
	}
	var f frame
	var gotAnnounce announcement
	var gotPush pushFrame
	readFrame(t, appendAnnounce(nil, &a), &f)
	if err := parseAnnounce(&f, &gotAnnounce); err != nil || gotAnnounce != a {
		t.Errorf("announce: %+v, %v", gotAnnounce, err)
	}
	readFrame(t, appendPush(nil, &push), &f)
	group, key, err := parsePush(&f, &gotPush)
	if err != nil || string(group) != "g" || string(key) != "key" || string(gotPush.value) != "v" ||
		gotPush.ttl != push.ttl || gotPush.version != push.version || gotPush.epoch != push.epoch || gotPush.flags != push.flags {
		t.Errorf("push: %s %s %+v, %v", group, key, gotPush, err)
	}
}

func readFrame(t testing.TB, b []byte, f *frame) {
	t.Helper()
	if ok, err := newFrameReader(strings.NewReader(""), b, 1<<20).next(f); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
}

func FuzzFramesOfVersion11(f *testing.F) {
	f.Add(appendAnnounce(nil, &announcement{Peer: Peer{ID: "b", Addr: "b:1", Role: RoleNode, Weight: 1}}))
	f.Add(appendPush(nil, &pushFrame{group: "g", key: "k", value: []byte("v")}))
	f.Add(appendDraining(nil, time.Second))
	f.Fuzz(func(t *testing.T, b []byte) {
		var fr frame
		if ok, err := newFrameReader(strings.NewReader(""), b, 1<<20).next(&fr); !ok || err != nil {
			return
		}
		_ = keepsMemory(&fr)
		var a announcement
		if err := parseAnnounce(&fr, &a); err == nil && len(a.ID)+len(a.Addr)+len(a.Role)+len(a.Zone) > len(fr.rest) {
			t.Errorf("more text than there are bytes: %+v", a)
		}
		var p pushFrame
		group, key, err := parsePush(&fr, &p)
		if err == nil && len(group)+len(key)+len(p.value) != len(fr.rest) {
			t.Errorf("%d bytes of a push of %d", len(group)+len(key)+len(p.value), len(fr.rest))
		}
	})
}
