package peergrpc

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

// allCodes returns every code that package geecache names.
func allCodes() []geecache.Code {
	var all []geecache.Code
	for c := geecache.Code(0); !strings.HasPrefix(c.String(), "code-"); c++ {
		all = append(all, c)
	}
	return all
}

func TestStatusTableHasEveryCode(t *testing.T) {
	all := allCodes()
	if len(all) != len(statusTable) {
		t.Fatalf("package geecache has %d codes, statusTable %d", len(all), len(statusTable))
	}
	for _, c := range all {
		if ok := StatusCode(c) == codes.OK; ok != (c == geecache.CodeOK) {
			t.Errorf("%v has the status %v", c, StatusCode(c))
		}
	}
	if got := StatusCode(200); got != codes.Internal {
		t.Errorf("an unknown code has the status %v, want Internal", got)
	}
}

// The numbers are in the wire format twice: in package geecache for the stream,
// and in the proto file. They must stay the same.
func TestProtoEnumsMatchPackageGeecache(t *testing.T) {
	name := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "-")) }
	all := allCodes()
	if len(geecachepb.Code_name) != len(all) {
		t.Errorf("the proto has %d codes, package geecache %d", len(geecachepb.Code_name), len(all))
	}
	for _, c := range all {
		if got := name(strings.TrimPrefix(geecachepb.Code_name[int32(c)], "CODE_")); got != c.String() {
			t.Errorf("code %d is %q in the proto, %q in package geecache", c, got, c)
		}
	}
	modes := map[geecachepb.Mode]geecache.Mode{
		geecachepb.Mode_MODE_OWNER:    geecache.ModeOwner,
		geecachepb.Mode_MODE_STAND_IN: geecache.ModeStandIn,
		geecachepb.Mode_MODE_MEMORY:   geecache.ModeMemory,
	}
	for pb, m := range modes {
		if int(pb) != int(m) {
			t.Errorf("%v is %d in the proto, %d in package geecache", pb, pb, m)
		}
	}
	origins := map[geecachepb.Origin]geecache.Origin{
		geecachepb.Origin_ORIGIN_NONE: geecache.FromNone,
		geecachepb.Origin_ORIGIN_MAIN: geecache.FromMain,
		geecachepb.Origin_ORIGIN_HOT:  geecache.FromHot,
		geecachepb.Origin_ORIGIN_PEER: geecache.FromPeer,
		geecachepb.Origin_ORIGIN_LOAD: geecache.FromLoad,
	}
	for pb, o := range origins {
		if int(pb) != int(o) {
			t.Errorf("%v is %d in the proto, %d in package geecache", pb, pb, o)
		}
	}
}

func TestStatusIsReversible(t *testing.T) {
	for _, c := range allCodes()[1:] {
		reply := geecache.PeerReply{
			Code: c, Message: "words about " + c.String(),
			TTL: 3 * time.Second, Version: 1 << 63, From: geecache.FromLoad,
			Took: 7 * time.Millisecond, Epoch: 1<<64 - 1, RetryAfter: time.Second,
		}
		st := status.Convert(toStatus(reply))
		if st.Code() != StatusCode(c) || st.Message() != reply.Message {
			t.Errorf("%v became status %v %q", c, st.Code(), st.Message())
		}
		got, ok := fromStatus(st, codeTrailer(c))
		if !ok || !reflect.DeepEqual(got, reply) {
			t.Errorf("%v came back as %+v, %v", c, got, ok)
		}
		// A client in another language, or a proxy, may drop the details.
		bare := status.New(st.Code(), st.Message())
		got, ok = fromStatus(bare, codeTrailer(c))
		if want := (geecache.PeerReply{Code: c, Message: reply.Message}); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%v came back without details as %+v, %v", c, got, ok)
		}
		if _, ok := fromStatus(st, nil); ok {
			t.Errorf("%v without the trailer counts as a node's answer", c)
		}
	}
}

func TestFromStatusDistrustsOK(t *testing.T) {
	got, ok := fromStatus(status.New(codes.NotFound, "x"), metadata.Pairs(MetadataCode, "ok"))
	if !ok || got.Code != geecache.CodeInternal {
		t.Errorf("a failure that says ok is %+v, %v, want internal", got, ok)
	}
}

func TestMessagesAreShortValidUTF8(t *testing.T) {
	long := strings.Repeat("\xff\u00e9", 4096)
	st := status.Convert(toStatus(geecache.PeerReply{Code: geecache.CodeSource, Message: long}))
	if m := st.Message(); len(m) > maxMessage || !utf8.ValidString(m) {
		t.Errorf("the message has %d bytes, valid UTF-8: %v", len(m), utf8.ValidString(m))
	}
}

func TestErrorsKeepTheirTypeAcrossNodes(t *testing.T) {
	for _, want := range []error{
		geecache.ErrNotFound, geecache.ErrNoGroup, geecache.ErrOverloaded, geecache.ErrTooLarge,
		geecache.ErrLoadTimeout, geecache.ErrSource, geecache.ErrUnavailable, geecache.ErrBadRequest,
	} {
		c := geecache.CodeOf(want)
		got, _ := fromStatus(status.Convert(toStatus(geecache.PeerReply{Code: c})), codeTrailer(c))
		if !errors.Is(got.Code.Err(), want) {
			t.Errorf("%v became %v", want, got.Code)
		}
	}
}

// FuzzFromResponse: whatever bytes another node sends, the reply is one that
// the rest of the program may handle.
func FuzzFromResponse(f *testing.F) {
	seed, err := proto.Marshal(toResponse(geecache.PeerReply{Value: []byte("630"), TTL: -1, From: geecache.FromMain}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x30, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var resp geecachepb.Response
		if proto.Unmarshal(b, &resp) != nil {
			return
		}
		r := fromResponse(&resp)
		if int(r.Code) >= len(statusTable) || r.From > geecache.FromLoad || r.Took < 0 || r.RetryAfter < 0 {
			t.Errorf("%x became %+v", b, r)
		}
		if r.Code != geecache.CodeOK && r.Value != nil {
			t.Errorf("%x: a failure has a value", b)
		}
	})
}
