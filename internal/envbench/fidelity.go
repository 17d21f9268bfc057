package envbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/geecache/geecache/internal/envbench/result"
)

// The behaviours that are tried in several environments.
const (
	behaviourCPU      = "CPU limit"
	behaviourMemory   = "memory limit"
	behaviourReadOnly = "read-only root file system"
	behaviourHealth   = "health checks of processes"
	behaviourReplaced = "a process that died is replaced"
	behaviourLogs     = "logs outlive their process"
	behaviourSecret   = "secrets reach processes"
	behaviourStop     = "stop timeout"
	behaviourImage    = "a missing image is told"
	behaviourAWS      = "calls of AWS"
)

// trialWithin bounds a trial, beside what it waits for itself.
const trialWithin = 8 * time.Minute

// A trial tries one thing. An error is no failure of the whole: what an API refuses is
// refused, and all else was not tried.
type trial struct {
	name string
	try  func(ctx context.Context) (outcome, error)
}

// An outcome is what came of a trial.
type outcome struct{ verdict, evidence string }

func done(format string, args ...any) (outcome, error) {
	return outcome{result.Done, fmt.Sprintf(format, args...)}, nil
}

func accepted(format string, args ...any) (outcome, error) {
	return outcome{result.Accepted, fmt.Sprintf(format, args...)}, nil
}

func refused(format string, args ...any) (outcome, error) {
	return outcome{result.Refused, fmt.Sprintf(format, args...)}, nil
}

func untried(format string, args ...any) (outcome, error) {
	return outcome{result.Unknown, fmt.Sprintf(format, args...)}, nil
}

// tryAll tries one after the other, and ends early only with ctx.
func tryAll(ctx context.Context, trials []trial, report func(result.Fact)) error {
	for _, t := range trials {
		limited, cancel := context.WithTimeout(ctx, trialWithin)
		o, err := t.try(limited)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			o = failed(err)
		}
		report(result.Fact{Name: t.name, Verdict: o.verdict, Evidence: o.evidence})
	}
	return nil
}

// failed says what an error means for what was tried.
func failed(err error) outcome {
	var not *Unsupported
	var refusal smithy.APIError
	var answer *awshttp.ResponseError
	text, _, _ := strings.Cut(err.Error(), "\n")
	status := ""
	if errors.As(err, &answer) && answer.HTTPStatusCode() > 0 {
		status = fmt.Sprintf("status %d: ", answer.HTTPStatusCode())
	}
	switch {
	case errors.As(err, &not):
		return outcome{result.Refused, not.Evidence}
	case errors.As(err, &refusal) && refusal.ErrorCode() == "UnknownError": // what the SDK puts in a code's place
		return outcome{result.Refused, status + "an error without a code of AWS's, as of a service that is not there"}
	case errors.As(err, &refusal):
		return outcome{result.Refused, fmt.Sprintf("%s%s: %s", status, refusal.ErrorCode(), refusal.ErrorMessage())}
	case status != "" && answer.HTTPStatusCode() >= 400:
		return outcome{result.Refused, status + text}
	}
	return outcome{result.Unknown, "the trial went wrong: " + text}
}

// comes looks again and again, for so long, whether what was accepted is done. look says
// what it has seen.
func comes(ctx context.Context, within, every time.Duration, look func(context.Context) (bool, string, error)) (outcome, error) {
	begun := time.Now()
	for {
		found, seen, err := look(ctx)
		took := time.Since(begun)
		switch {
		case err != nil:
			return outcome{}, err
		case found:
			return done("after %.1f s: %s", took.Seconds(), seen)
		case took >= within:
			return accepted("%.0f s later: %s", took.Seconds(), seen)
		}
		timer := time.NewTimer(every)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return outcome{}, ctx.Err()
		}
	}
}

// tryReplacement kills a node, and looks whether another process takes its place.
func tryReplacement(ctx context.Context, d Driver, name string, within time.Duration) (outcome, error) {
	killer, ok := d.(Killer)
	if !ok {
		return untried("the driver cannot kill")
	}
	before, err := d.Status(ctx, name)
	if err != nil {
		return outcome{}, err
	}
	victim, ok := firstNode(before)
	if !ok {
		return untried("no node answers")
	}
	if _, err := killer.Kill(ctx, name, victim); err != nil {
		return outcome{}, err
	}
	o, err := comes(ctx, within, 200*time.Millisecond, func(ctx context.Context) (bool, string, error) {
		now, err := d.Status(ctx, name)
		if err != nil {
			return false, "", err
		}
		gone := true
		for _, m := range now.Members {
			gone = gone && (m.ID != victim.ID || !m.Ready || !m.Started.Equal(victim.Started))
		}
		return gone && now.Answering >= before.Answering, fmt.Sprintf("%d of %d nodes answer, %s was killed", now.Answering, before.Desired, victim.ID), nil
	})
	if err == nil && o.verdict == result.Accepted && !killer.Replaces() {
		o.verdict = result.Refused // nobody had said that it would
	}
	return o, err
}

// firstNode returns a node that answers.
func firstNode(s *Status) (Member, bool) {
	for _, m := range s.Members {
		if !m.API && m.Ready {
			return m, true
		}
	}
	return Member{}, false
}

// tryLogs looks whether what a process has logged is still told of once it was killed.
func tryLogs(ctx context.Context, d Driver, name string) (outcome, error) {
	killer, ok := d.(Killer)
	if !ok {
		return untried("the driver cannot kill")
	}
	const all = 100_000
	now, err := d.Status(ctx, name)
	if err != nil {
		return outcome{}, err
	}
	victim, ok := firstNode(now)
	if !ok {
		return untried("no node answers")
	}
	line := "" // one of its own, the same in no other process
	own := func(text []byte) string {
		for l := range bytes.Lines(text) {
			if bytes.Contains(l, []byte(victim.ID)) {
				return string(l)
			}
		}
		return ""
	}
	var log bytes.Buffer
	if err := d.Logs(ctx, name, &log, all); err != nil {
		return outcome{}, err
	}
	if line = own(log.Bytes()); line == "" {
		return refused("of %s there was no line in the log before it was killed", victim.ID)
	}
	if _, err := killer.Kill(ctx, name, victim); err != nil {
		return outcome{}, err
	}
	return comes(ctx, 5*time.Second, 200*time.Millisecond, func(ctx context.Context) (bool, string, error) {
		log.Reset()
		err := d.Logs(ctx, name, &log, all)
		return bytes.Contains(log.Bytes(), []byte(line)), fmt.Sprintf("%s was killed; its line is looked for in %d bytes of log", victim.ID, log.Len()), err
	})
}

// trySecret looks whether a node knows the cluster's secret, and asks for a proof of it.
func trySecret(ctx context.Context, d Driver, name string) (outcome, error) {
	teller, ok := d.(interface {
		Secret(ctx context.Context, name string) (string, error)
	})
	if !ok {
		return untried("the cluster has no secret here: all of it listens on this machine alone")
	}
	secret, err := teller.Secret(ctx, name)
	if err != nil || secret == "" {
		return outcome{}, err
	}
	now, err := d.Status(ctx, name)
	if err != nil {
		return outcome{}, err
	}
	node, ok := firstNode(now)
	if !ok {
		return untried("no node answers")
	}
	p := newProber(secret, false)
	defer p.close()
	if _, err := p.get(ctx, node.Addr, "/statusz"); err != nil {
		return untried("%s cannot be asked from here: %v", node.Addr, err)
	}
	if _, err := p.getPlain(ctx, node.Addr, "/statusz"); err == nil {
		return accepted("node %s answers without a proof of the secret, too", node.ID)
	}
	return done("node %s answers to who proves the secret, and to nobody else", node.ID)
}

// limits are what Docker holds a container to.
type limits struct {
	CPUs     float64 // 0: as many as there are
	Memory   int64   // bytes; 0: all
	ReadOnly bool
}

func limitsOf(ctx context.Context, container string) (l limits, err error) {
	text, err := docker(ctx, nil, "inspect", "--format", "{{.HostConfig.NanoCpus}} {{.HostConfig.CpuQuota}} {{.HostConfig.CpuPeriod}} {{.HostConfig.Memory}} {{.HostConfig.ReadonlyRootfs}}", container)
	if err != nil {
		return l, err
	}
	var nano, quota, period int64
	if _, err := fmt.Sscan(text, &nano, &quota, &period, &l.Memory, &l.ReadOnly); err != nil {
		return l, err
	}
	l.CPUs = float64(nano) / 1e9
	if quota > 0 && period > 0 {
		l.CPUs = float64(quota) / float64(period)
	}
	return l, nil
}

// readOnly judges whether a container's root file system is what was asked for.
func (l limits) readOnly() (outcome, error) {
	if !l.ReadOnly {
		return accepted("a node's container can write to its root file system, as Docker says")
	}
	return done("a node's container cannot write to its root file system, as Docker says")
}

// tryMissingImage has Docker start an image that there is not.
func tryMissingImage(ctx context.Context) (outcome, error) {
	const name = "geecache-fidelity:missing"
	if _, err := docker(ctx, nil, "run", "--rm", "--pull=never", name); err != nil {
		text, _, _ := strings.Cut(err.Error(), "\n")
		return done("%s", text)
	}
	return accepted("Docker says nothing of %s", name)
}
