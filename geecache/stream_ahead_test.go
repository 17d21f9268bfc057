package geecache

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/geecache/geecache/lru"
)

// touchHandler answers as echo does, and notes in what order keys are touched and
// answered. Of the group "none" nothing can be touched.
type touchHandler struct {
	testHandler
	seen *[]string
}

func (h touchHandler) keysOf(group string) keyToucher {
	if group == "none" {
		return nil
	}
	return h
}

func (h touchHandler) touch(keys []string) byte {
	for _, key := range keys {
		*h.seen = append(*h.seen, "?"+key)
	}
	return 1
}

func (h touchHandler) answerNow(req *PeerRequest, reply *PeerReply) bool {
	*h.seen = append(*h.seen, strings.Clone(req.Key)) // it aliases the read buffer
	return echo(req, reply)
}

func TestRequestsOfABatchAreTouchedFirst(t *testing.T) {
	type asked = struct{ group, key string }
	many := func(n int) (all []asked) {
		for i := range n {
			all = append(all, asked{"g", fmt.Sprintf("%02d", i)})
		}
		return all
	}
	var twoRounds []string
	for first := 0; first < 2*aheadMost; first += aheadMost {
		for _, mark := range []string{"?", ""} {
			for i := range aheadMost {
				twoRounds = append(twoRounds, fmt.Sprintf("%s%02d", mark, first+i))
			}
		}
	}
	for name, test := range map[string]struct {
		batch []asked
		want  []string
	}{
		"one group":        {[]asked{{"g", "a"}, {"g", "b"}, {"g", "c"}, {"g", "d"}}, []string{"?a", "?b", "?c", "?d", "a", "b", "c", "d"}},
		"another group":    {[]asked{{"g", "a"}, {"g", "b"}, {"h", "c"}, {"g", "d"}}, []string{"?a", "?b", "a", "b", "c", "d"}},
		"unknown group":    {[]asked{{"none", "a"}, {"g", "b"}, {"g", "c"}, {"g", "d"}}, []string{"a", "b", "c", "d"}},
		"few":              {[]asked{{"g", "a"}, {"g", "b"}}, []string{"a", "b"}},
		"more than it may": {many(2 * aheadMost), twoRounds},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen []string
				n := startNode(streamServerConfig{handler: touchHandler{seen: &seen}})
				defer n.stop()
				p := rawClient(t, n)
				defer p.conn.Close()
				var b []byte
				for i, r := range test.batch {
					b = appendRequest(b, uint64(i+1), &PeerRequest{Group: r.group, Key: r.key}, 0)
				}
				p.write(b)
				for i, r := range test.batch {
					var reply replyFrame
					f := p.next()
					if err := parseReply(&f, &reply); err != nil || reply.id != uint64(i+1) || string(reply.Value) != r.key {
						t.Fatalf("reply %d is %d, %q, %v", i, reply.id, reply.Value, err)
					}
				}
				if !slices.Equal(seen, test.want) {
					t.Errorf("seen: %q, want %q", seen, test.want)
				}
			})
		})
	}
}

// What is broken behind some requests is no matter of those: they are answered.
func TestLookingAheadBreaksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		n := startNode(streamServerConfig{handler: touchHandler{seen: &seen}})
		defer n.stop()
		p := rawClient(t, n)
		defer p.conn.Close()
		b := appendRequest(nil, 1, &PeerRequest{Group: "g", Key: "a"}, 0)
		b = appendNumber(b, kindPing, 5)
		b = appendRequest(b, 2, &PeerRequest{Group: "g", Key: "b"}, 0)
		broken := len(b)
		b = appendRequest(b, 3, &PeerRequest{Group: "g", Key: "c"}, 0)
		b[broken+4] = 99 // the version
		p.write(append(b, make([]byte, aheadLeast)...))
		for range 4 {
			f, err := p.read()
			if err != nil {
				t.Fatal(err)
			}
			if f.kind == kindGoaway {
				break
			}
		}
		synctest.Wait()
		if want := []string{"?a", "a", "b"}; !slices.Equal(seen, want) {
			t.Errorf("seen: %q, want %q", seen, want)
		}
	})
}

func TestTouchOfAGroup(t *testing.T) {
	nodes := startCluster(t, 1, &testSource{}, Config{}, GroupConfig{})
	g := nodes[0].Group("g")
	for key, value := range map[string]string{"some": "value", "empty": ""} {
		if err := g.main.Add(hashOf(key), key, lru.Item{Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	h := streamHandlerOf{nodes[0]}
	if h.keysOf("unknown") != nil {
		t.Error("an unknown group has keys")
	}
	if got := h.keysOf("g").touch([]string{"some", "empty", "missing"}); got != 'e' {
		t.Errorf("touched %d, want %d", got, 'e')
	}
}
