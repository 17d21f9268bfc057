// Package envbench deploys one cluster in each environment, this machine, Docker, an
// emulator of AWS and AWS itself, and finds out what really runs there by asking every
// node. It believes no environment's own count, and knows nothing of a cache's inside.
package envbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The environments.
const (
	Local    = "local"    // processes of this machine
	Docker   = "docker"   // containers, by Compose
	Emulator = "emulator" // containers, by an emulator of AWS
	AWS      = "aws"
)

// Environments returns the names of all of them.
func Environments() []string { return []string{Local, Docker, Emulator, AWS} }

// A Driver deploys in one environment. Its methods may be called again after an error
// or by another process: what they need to know they find in the environment. No two
// may run at a time for one deployment.
type Driver interface {
	// Up makes the deployment what d says, and returns when every node of it answers
	// and all agree on one ring, or with an error that says which does not, and why.
	// If it is that already, nothing changes.
	Up(ctx context.Context, d Deployment) (*Status, error)

	// Scale changes the number of nodes, and returns as Up does.
	Scale(ctx context.Context, name string, nodes int) (*Status, error)

	// Status says what is there. It returns ErrAbsent if nothing is.
	Status(ctx context.Context, name string) (*Status, error)

	// Logs writes the last lines of each process's log, with its name before each.
	Logs(ctx context.Context, name string, w io.Writer, lines int) error

	// Down removes all that Up has made, and returns when nothing is left, which it
	// has looked for. It is no error if there was nothing.
	Down(ctx context.Context, name string) error
}

// ErrAbsent is the error for a deployment that there is not.
var ErrAbsent = errors.New("there is no such deployment")

// Options are what every driver is told. The zero value works for Local.
type Options struct {
	// Endpoint is where an emulator of AWS answers. Default: DefaultEndpoint.
	Endpoint string

	// Region is AWS's. Default: that of the environment variables; for an emulator
	// us-east-1.
	Region string

	// Dir is the project's folder, for the files of Compose and Terraform. Default: ".".
	Dir string

	// Program is the file of geecache itself, for Local. Default: this process's.
	Program string

	// Progress is told what happens now, and how long a stage took. nil: nobody is.
	Progress func(Event)

	// Tied has what Local starts end with this process, however that ends.
	Tied bool

	// StartWithin bounds how long nodes may take to answer and to agree. Default:
	// DefaultStartWithin.
	StartWithin time.Duration

	longestPause time.Duration // between two looks at what nodes say; 0: longestPause
}

// The defaults of Options.
const (
	DefaultEndpoint    = "http://127.0.0.1:4566"
	DefaultStartWithin = 2 * time.Minute
)

// An Event is something that happens while a driver works.
type Event struct {
	Stage string        // e.g. "image", "nodes"
	Text  string        // what happens, or has happened
	Took  time.Duration // of a stage that has ended; 0: it has not
}

// A Stage is how long a part of Up or Scale took.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// New returns the driver of an environment.
func New(environment string, o Options) (Driver, error) {
	if o.StartWithin == 0 {
		o.StartWithin = DefaultStartWithin
	}
	if o.Dir == "" {
		o.Dir = "."
	}
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	switch environment {
	case Local:
		return newLocal(o)
	case Docker:
		return newComposed(o)
	case Emulator:
		return newEmulator(o)
	case AWS:
		return newAWS(o)
	}
	return nil, UnknownEnvironment(environment)
}

// UnknownEnvironment is the error for the name of an environment that there is not.
func UnknownEnvironment(name string) error {
	return fmt.Errorf("there is no environment %q: there are %s", name, strings.Join(Environments(), ", "))
}

// A Status is what is there, as the environment says and as the nodes say.
type Status struct {
	Environment string `json:"environment"`
	Name        string `json:"name"`
	Image       string `json:"image,omitempty"`

	Desired   int    `json:"desired"`         // nodes, as the environment was told
	Reported  int    `json:"reported"`        // that run, as it counts them
	Running   int    `json:"running"`         // whose process, container or task is seen to run
	Answering int    `json:"answering"`       // that answer to be ready
	Owning    int    `json:"owning"`          // that are in the ring of all who answer
	Agree     bool   `json:"agree"`           // all desired nodes answer, and have one ring
	Epoch     string `json:"epoch,omitempty"` // of that ring
	API       string `json:"api,omitempty"`   // URL of the API, without a path

	Members []Member `json:"members"` // nodes first
	Stages  []Stage  `json:"stages,omitempty"`
	Changed []string `json:"changed"`         // what Up or Scale has made or changed
	Notes   []string `json:"notes,omitempty"` // what is not here as it would be in production

	wanting string // what else is not as it should be
	placed  bool   // as many nodes as desired have an address
	started bool   // as many nodes as desired are ready, and the API is

	begun time.Time // when the last node's process began, as it says
}

// A Member is one process of a deployment.
type Member struct {
	ID      string `json:"id"` // its own, or the environment's while it does not answer
	Addr    string `json:"addr"`
	API     bool   `json:"api,omitempty"` // it is an API server, and owns nothing
	Ready   bool   `json:"ready"`
	State   string `json:"state"`
	Epoch   string `json:"epoch,omitempty"`
	Ring    int    `json:"ring"` // nodes on its ring
	Version string `json:"version,omitempty"`
	Error   string `json:"error,omitempty"` // why it does not answer

	Started time.Time `json:"started,omitzero"` // its process, as it says

	ring []string // IDs
	task string   // what the environment calls it
	old  bool     // it is to make way for another one
}

// Nodes returns the IDs of the nodes that answer to be ready, sorted.
func (s *Status) Nodes() (ids []string) {
	for _, m := range s.Members {
		if !m.API && m.Ready {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// OneRing reports whether the processes that answer have one ring, and on it are the nodes
// that answer and no others. Unlike Agree it does not ask how many there should be.
func (s *Status) OneRing() bool {
	nodes, some := s.Nodes(), false
	for _, m := range s.Members {
		if !m.Ready {
			continue
		}
		if some = true; !slices.Equal(slices.Sorted(slices.Values(m.ring)), nodes) {
			return false
		}
	}
	return some
}

// judge fills in what follows from the members.
func (s *Status) judge() {
	s.Answering, s.Owning, s.Agree, s.Epoch = 0, 0, false, ""
	seen := make(map[string]int) // in how many rings
	var ready []Member
	epochs := make(map[string]bool)
	for _, m := range s.Members {
		if !m.Ready {
			continue
		}
		ready = append(ready, m)
		epochs[m.Epoch] = true
		for _, id := range m.ring {
			seen[id]++
		}
		if !m.API {
			s.Answering++
		}
	}
	s.follow()
	whole := len(ready) == len(s.Members) && len(epochs) == 1
	for _, m := range ready {
		if !m.API && seen[m.ID] == len(ready) {
			s.Owning++
		}
		whole = whole && len(m.ring) == s.Desired
	}
	if whole && s.wanting == "" && s.Answering == s.Desired && s.Owning == s.Desired {
		s.Agree, s.Epoch = true, ready[0].Epoch
	}
}

// follow fills in how far the members are that are to stay.
func (s *Status) follow() {
	placed, ready, api := 0, 0, true
	for _, m := range s.Members {
		if !m.API && m.Started.After(s.begun) {
			s.begun = m.Started
		}
		switch {
		case m.old:
		case m.API:
			api = api && m.Ready
		case m.Ready:
			ready++
			placed++
		case m.Addr != "":
			placed++
		}
	}
	s.placed = placed >= s.Desired
	s.started = ready >= s.Desired && api
}

// why says what keeps the members from agreeing.
func (s *Status) why() string {
	var parts []string
	nodes := 0
	epochs := make(map[string][]string)
	for _, m := range s.Members {
		if !m.API {
			nodes++
		}
		switch {
		case m.Error != "":
			parts = append(parts, fmt.Sprintf("%s at %s: %s", m.ID, m.Addr, m.Error))
		case !m.Ready:
			parts = append(parts, fmt.Sprintf("%s at %s is %s", m.ID, m.Addr, m.State))
		default:
			epochs[m.Epoch] = append(epochs[m.Epoch], fmt.Sprintf("%s sees %d", m.ID, m.Ring))
		}
	}
	if s.wanting != "" {
		parts = append(parts, s.wanting)
	}
	if nodes != s.Desired {
		parts = append(parts, fmt.Sprintf("%d nodes run", nodes))
	}
	if len(epochs) > 1 {
		var all []string
		for _, who := range epochs {
			all = append(all, who...)
		}
		slices.Sort(all)
		parts = append(parts, "their rings differ: "+strings.Join(all, ", "))
	}
	for _, who := range epochs {
		if len(parts) == 0 {
			parts = append(parts, "their ring has other nodes, too: "+strings.Join(who, ", "))
		}
	}
	return fmt.Sprintf("%d of %d nodes agree on one ring: %s", s.Owning, s.Desired, strings.Join(parts, "; "))
}
