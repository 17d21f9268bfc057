package judge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

// recoverWithin is how long an environment is watched after a node has been killed, and
// lookPause the time between two looks.
const (
	recoverWithin = 30 * time.Second
	lookPause     = 50 * time.Millisecond
)

func recoveryTest() test {
	return test{
		id: "recovery", title: "Recovery from the death of a node",
		method: fmt.Sprintf("The node that owns a key is killed, with %d requests a second meanwhile. From then until as many nodes are ready as before (replaced), until "+
			"those who answer have one ring without the dead one (ring-healed), and until the API gives the key's value (first-answer). It is watched for %v.", loadRate, recoverWithin),
		run: recovery,
	}
}

// recovery measures what follows when a node is killed.
func recovery(ctx context.Context, s *session, t *result.Test) error {
	k, ok := s.driver.(envbench.Killer)
	if !ok {
		return &envbench.Unsupported{What: "killing a node", Evidence: "its driver cannot"}
	}
	missing := make(map[string]string) // why a series has no samples
	if !k.Replaces() {
		missing["replaced"] = "nothing here starts another process for one that died"
	}
	err := s.repeat(ctx, "a node is killed", func(ctx context.Context, count bool) error {
		now, err := s.up(ctx)
		if err != nil {
			return err
		}
		if len(missing) > 0 && len(now.Changed) > 0 && len(t.Notes) == 0 { // what the environment had left undone
			t.Notes = append(t.Notes, "what `geecache env up` did after that: "+strings.Join(now.Changed, "; "))
		}
		return s.killOnce(ctx, t, k, now, missing, count)
	})
	for _, name := range []string{"replaced", "ring-healed"} {
		if why := missing[name]; why != "" && t.Find(name) == nil {
			t.Series = append(t.Series, result.Series{Name: name, Unit: "s", Unsupported: why})
		}
	}
	return err
}

// rings returns how many nodes the processes that answer have on their rings.
func rings(now *envbench.Status) string {
	var sizes []string
	for _, m := range now.Members {
		if m.Ready {
			sizes = append(sizes, fmt.Sprint(m.Ring))
		}
	}
	slices.Sort(sizes)
	return strings.Join(slices.Compact(sizes), " and ")
}

// A sight is what was seen of a recovery; zero: it was not.
type sight struct{ replaced, healed, answer time.Duration }

// killOnce kills one node and watches.
func (s *session) killOnce(ctx context.Context, t *result.Test, k envbench.Killer, now *envbench.Status, missing map[string]string, count bool) error {
	victim, err := owner(now, envbench.DemoExpect().Key)
	if err != nil {
		return err
	}
	load, err := s.startLoad(ctx, now.API)
	if err != nil {
		return err
	}
	defer func() { _, _ = load.stop() }() // at the latest
	at, err := k.Kill(ctx, s.Deployment.Name, victim)
	if err != nil {
		return err
	}
	saw, last, err := s.watch(ctx, now, victim, at, missing)
	if err != nil {
		return err
	}
	sent, err := load.stop()
	if err != nil {
		return err
	}
	for name, took := range map[string]time.Duration{"replaced": saw.replaced, "ring-healed": saw.healed} {
		if took == 0 && missing[name] == "" {
			missing[name] = fmt.Sprintf("not within %v after the kill: of %d nodes %d were reported then, and %d answered, with rings of %s nodes",
				recoverWithin, last.Desired, last.Reported, last.Answering, rings(last))
		}
	}
	if !count {
		return nil
	}
	if saw.replaced > 0 {
		t.Add("replaced", "s", saw.replaced.Seconds()).Warmups = 1
	}
	if saw.healed > 0 {
		healed := t.Add("ring-healed", "s", saw.healed.Seconds())
		healed.Warmups = 1
	}
	answer := t.Add("first-answer", "s", saw.answer.Seconds())
	answer.Warmups = 1
	addLoad(answer, sent)
	c := t.AddCount("failed", int(sent.Failed))
	if why := failures(sent); why != "" && c.Note == "" {
		c.Note = why
	}
	return nil
}

// owner returns the node that a key belongs to.
func owner(now *envbench.Status, key string) (envbench.Member, error) {
	ring, err := ringOf(now.Nodes())
	if err != nil {
		return envbench.Member{}, err
	}
	id := ring.Get(key)
	for _, m := range now.Members {
		if m.ID == id && !m.API {
			return m, nil
		}
	}
	return envbench.Member{}, errors.New("no node owns a key: none answers")
}

// watch looks, until all has been seen that the environment may be expected to do, or the
// time is over. What is missing already is waited for no more.
func (s *session) watch(ctx context.Context, before *envbench.Status, victim envbench.Member, at time.Time, missing map[string]string) (saw sight, last *envbench.Status, err error) {
	answered := make(chan time.Duration, 1)
	watching, cancel := context.WithDeadline(ctx, at.Add(recoverWithin))
	defer cancel()
	go func() { answered <- answerAgain(watching, before.API, at) }()
	for {
		now, e := s.driver.Status(watching, s.Deployment.Name)
		if e == nil {
			last = now
			dead, nodes := false, 0
			for _, m := range now.Members {
				if m.API || !m.Ready {
					continue
				}
				nodes++
				dead = dead || m.ID == victim.ID && m.Started.Equal(victim.Started)
			}
			if !dead && saw.replaced == 0 && nodes >= before.Answering {
				saw.replaced = time.Since(at)
			}
			if !dead && saw.healed == 0 && now.OneRing() {
				saw.healed = time.Since(at)
			}
		}
		done := (saw.replaced > 0 || missing["replaced"] != "") && (saw.healed > 0 || missing["ring-healed"] != "")
		if done || !pause(watching, lookPause) {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return saw, last, err
	}
	if last == nil {
		return saw, last, errors.New("after a node was killed nothing could be found out about the others")
	}
	saw.answer = <-answered
	if saw.answer == 0 {
		return saw, last, fmt.Errorf("%v after a node was killed the API gives no right answer", recoverWithin)
	}
	return saw, last, nil
}

// answerAgain asks the API until it gives a right answer, and returns how long after a
// moment that was; 0: ctx ended before.
func answerAgain(ctx context.Context, api string, at time.Time) time.Duration {
	e := envbench.DemoExpect()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: loadTimeout} // no proxy
	target := api + "/api?" + url.Values{"key": {e.Key}, "group": {e.Group}}.Encode()
	for answers(ctx, client, target, e.Value) != nil {
		if !pause(ctx, answerPause) {
			return 0
		}
	}
	return time.Since(at)
}
