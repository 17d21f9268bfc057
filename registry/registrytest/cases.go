package registrytest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
)

// A watch that begins gets the members that are there with its first view.
func testFirstView(s *suite) {
	a := s.Member(1)
	s.enter(a)
	s.watch(s.open()).untilHas(a) // it has arrived
	w := s.watch(s.open())
	took := w.untilHas(a)
	// A gossip that has just begun knows itself alone; and nobody else has a reason.
	s.Logf("a first view with the member: %v", took.Round(time.Millisecond))
	s.lookup(a)
	w.until("there was a view", func(now seen) bool { return now.views > 0 })
	if now := w.now(); now.before > 0 {
		s.Errorf("%d errors before the first view", now.before)
	}
}

// lookup asks once, where that can be done, and wants the member in the answer.
func (s *suite) lookup(m registry.Member) {
	s.Helper()
	looker, ok := s.open().Discoverer.(registry.Looker)
	if !ok {
		return
	}
	ctx, cancel := within(patience)
	defer cancel()
	want := s.told(m).Peer
	all, err := looker.Lookup(ctx)
	if err != nil || !slices.ContainsFunc(all, func(one registry.Member) bool { return one.ID == want.ID && one.Addr == want.Addr }) {
		s.Errorf("Lookup() = %+v, %v: %+v is not in it", all, err, want)
	}
}

// Members are in every view as soon as promised, and out of it as soon.
func testComeAndGo(s *suite) {
	first := s.watch(s.open())
	second := s.watch(s.open())
	var coming, going time.Duration
	for try := range 3 {
		m := s.Member(2 + try)
		start := time.Now()
		s.enter(m)
		first.untilHas(m)
		second.untilHas(m)
		coming = time.Since(start)
		start = time.Now()
		s.leave(m.ID)
		first.untilLacks(m)
		second.untilLacks(m)
		going = time.Since(start)
		s.Logf("in every view after %v, out of it after %v", coming.Round(time.Millisecond), going.Round(time.Millisecond))
		if coming <= s.Within && going <= s.Within {
			return
		}
	}
	s.Errorf("three tries, and none kept the promise of %v", s.Within)
}

// A member that is entered again with another weight is seen with that one, once.
func testChanged(s *suite) {
	w := s.watch(s.open())
	m, other := s.Member(5), s.Member(6)
	s.enter(m)
	s.enter(other)
	w.untilHas(m, other)
	before := s.told(m)
	m.Weight *= 3
	m.Zone = "elsewhere"
	m.Metadata = map[string]string{"started": "again"}
	if s.told(m).Peer == before.Peer {
		return // it tells none of that
	}
	s.enter(m)
	w.untilHas(m, other)
	s.enter(m) // as it is
	s.watch(s.open()).untilHas(m, other)
	s.leave(m.ID)
	w.untilLacks(m)
}

// Whatever an ID, a zone or metadata is made of, it arrives as it was.
func testOdd(s *suite) {
	w := s.watch(s.open())
	odd := []string{"a/b", "/", "..", "a%2Fb", "%", "a:8000", "ünï-漢字", "\U0001f642", `"`, `\`, "'", "a=b&c=d", "{}", "<a>", "$x", "*", "-", "a,b;c", strings.Repeat("x", 200)}
	var members []registry.Member
	for i, text := range odd {
		m := s.Member(10 + i)
		m.ID, m.Zone = text, text
		m.Metadata = map[string]string{text: text, "empty": "", "lines": "1\r\n2\t\x00"}
		if len(text) > 100 {
			m.Zone, m.Metadata = "z", nil // all of it together is too much for some
		}
		if s.Holds(m) {
			s.enter(m)
			members = append(members, m)
		}
	}
	client := s.Member(10 + len(odd))
	client.Role = geecache.RoleClient
	if s.Holds(client) {
		s.enter(client)
		members = append(members, client)
	}
	for _, m := range members { // one by one: a message says which
		w.untilHas(m)
	}
}

// Many members are all there, and when all but one leave, that one is.
func testMany(s *suite) {
	w := s.watch(s.open())
	var members []registry.Member
	for i := range s.Many {
		members = append(members, s.Member(40+i))
		s.enter(members[i])
	}
	s.Logf("%d members are in a view %v after the last has entered", s.Many, w.untilHas(members...).Round(time.Millisecond))
	s.watch(s.open()).untilHas(members...)
	for _, m := range members[1:] {
		s.leave(m.ID)
	}
	w.untilLacks(members[1:]...)
	w.untilHas(members[0])
}

// What does not change is told again, so that one can tell how old a view is.
func testRepeated(s *suite) {
	m := s.Member(7)
	s.enter(m)
	w := s.watch(s.open())
	w.untilHas(m)
	views := w.now().views
	w.until("the view is told twice more", func(now seen) bool { return now.views >= views+2 && s.has(now.view, m) })
}

// A watch ends with its context, and another one of the same registry goes on.
func testEnd(s *suite) {
	h := s.open()
	one, other := s.watch(h), s.watch(h)
	for _, w := range []*watcher{one, other} {
		w.until("there was a view", func(now seen) bool { return now.views > 0 })
	}
	one.stop()
	m := s.Member(8)
	s.enter(m)
	other.untilHas(m)

	for range h.Watch(s.Context()) {
		break // it must obey
	}
}

// Leave does nothing if there is nothing to do.
func testLeave(s *suite) {
	h := s.open()
	if h.Registrar == nil {
		return
	}
	ctx, cancel := within(patience)
	defer cancel()
	if err := h.Leave(ctx); err != nil {
		s.Errorf("Leave without Register = %v", err)
	}

	h = s.open()
	if err := h.Register(ctx, s.Member(9)); err != nil {
		s.Fatal(err)
	}
	for range 2 {
		if err := h.Leave(ctx); err != nil {
			s.Errorf("Leave = %v", err)
		}
	}
}

// A member that dies is gone after a while, and one that lives is not.
func testVanish(s *suite) {
	w := s.watch(s.open())
	dies, lives := s.Member(1), s.Member(2)
	s.enter(dies)
	s.enter(lives)
	w.untilHas(dies, lives)
	s.in[dies.ID].handle.Kill()
	delete(s.in, dies.ID)
	start := time.Now()
	w.untilLacks(dies)
	took := time.Since(start)
	s.Logf("gone %v after its death; the promise is %v", took.Round(time.Millisecond), s.Harness.Vanish)
	if took > s.Harness.Vanish+promptly {
		s.Errorf("the dead member was there for %v, the promise is %v", took, s.Harness.Vanish)
	}
	if !s.has(w.now().view, lives) {
		s.Errorf("the member that lives is not in the view: %s", w.now().view)
	}
}

// A server that is down is an error, and no end: all is as before once it is back.
func testServerDown(s *suite) {
	w := s.watch(s.open())
	a := s.Member(1)
	s.enter(a)
	w.untilHas(a)
	errs := w.now().errs
	s.Stop(s.T)
	w.until("there was an error", func(now seen) bool { return now.errs > errs })
	if !s.has(w.now().view, a) {
		s.Errorf("the last view before the server was down has not the member: %s", w.now().view)
	}
	s.refuses()
	s.Start(s.T)
	views := w.now().views
	w.until("there was a view again", func(now seen) bool { return now.views > views })
	w.untilHas(a)
	b := s.Member(2)
	s.enter(b)
	w.untilHas(a, b)
	s.leave(b.ID)
	w.untilLacks(b)
}

// refuses checks that a registration ends with its context, with an error.
func (s *suite) refuses() {
	s.Helper()
	h := s.open()
	if h.Registrar == nil {
		return
	}
	for _, c := range []struct {
		name string
		call func(ctx context.Context) error
		fine bool // whether no error is right, too
	}{
		{"Register", func(ctx context.Context) error { return h.Register(ctx, s.Member(3)) }, false},
		{"Leave", h.Leave, true},
	} {
		const bound = 500 * time.Millisecond
		ctx, cancel := within(bound)
		start := time.Now()
		err := c.call(ctx)
		cancel()
		if err == nil && !c.fine {
			s.Errorf("%s says that all is well, with a server that does not answer in time", c.name)
		}
		if took := time.Since(start); took > bound+promptly {
			s.Errorf("%s took %v, with a context of %v", c.name, took, bound)
		}
	}
}

// A node may start before its registry does.
func testServerDownAtFirst(s *suite) {
	s.Stop(s.T)
	w := s.watch(s.open())
	w.until("there was an error", func(now seen) bool { return now.errs > 0 })
	if now := w.now(); now.views > 0 {
		s.Errorf("a server that is down told %s", now.view)
	}
	s.Start(s.T)
	m := s.Member(4)
	s.enter(m)
	w.untilHas(m)
}

// A server that answers late makes all of it late, and stops nothing.
func testSlow(s *suite) {
	before := s.watch(s.open())
	a, b := s.Member(1), s.Member(2)
	s.enter(a)
	before.untilHas(a)
	s.Delay(s.T, slow)
	defer s.Delay(s.T, 0)

	s.refuses()
	late := s.watch(s.open())
	if s.Enter != nil { // from outside, where nobody is slow
		s.enter(b)
		late.untilHas(a, b)
		before.untilHas(a, b)
	} else {
		late.untilHas(a)
	}
	ends := s.watch(s.open())
	ends.stop()

	s.Delay(s.T, 0)
	s.enter(b)
	late.untilHas(a, b)
	before.untilHas(a, b)
}
