package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is how large an answer over UDP may be, in bytes: what passes
	// everywhere without being cut. A larger one comes over TCP.
	udpSize = 1232

	// resend is when a question is sent once more, since UDP may lose it.
	resend = 2 * time.Second
)

// askServers asks each server until one answers, and gives each its share of the time
// that is left.
func (a *asker) askServers(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	var errs []error
	for i, server := range a.servers {
		answer, err := askInTime(ctx, server, name, kind, len(a.servers)-i)
		if err == nil {
			return answer, nil
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func askInTime(ctx context.Context, server, name string, kind uint16, left int) (*dns.Msg, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	question := new(dns.Msg)
	question.SetQuestion(name, kind)
	question.SetEdns0(udpSize, false)
	answer, err := exchange(ctx, "udp", server, question)
	if err == nil && answer.Rcode == dns.RcodeFormatError { // it is old, and knows no EDNS
		question.Extra = nil
		answer, err = exchange(ctx, "udp", server, question)
	}
	if err == nil && answer.Truncated {
		answer, err = exchange(ctx, "tcp", server, question)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("server %s: %w", server, err)
	case answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("server %s: it answers %s", server, dns.RcodeToString[answer.Rcode])
	}
	return answer, nil
}

// exchange sends a question and returns its answer. Unlike that of dns.Client it ends
// when its context does, and asks again what got lost.
func exchange(ctx context.Context, network, server string, question *dns.Msg) (*dns.Msg, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: c, UDPSize: udpSize}
	defer conn.Close()
	unblock := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer unblock()
	for ctx.Err() == nil {
		if err := conn.WriteMsg(question); err != nil {
			return nil, reason(ctx, err)
		}
		if network == "udp" {
			_ = conn.SetReadDeadline(time.Now().Add(resend))
		}
		answer, err := read(conn, question)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			continue
		}
		return answer, reason(ctx, err)
	}
	return nil, context.Cause(ctx)
}

// reason tells what ended an exchange: its context, perhaps.
func reason(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// read reads messages until one answers the question.
func read(conn *dns.Conn, question *dns.Msg) (*dns.Msg, error) {
	for {
		answer, err := conn.ReadMsg()
		if err != nil {
			var broken *dns.Error // of a message, not of the connection
			if errors.As(err, &broken) && answer != nil && answer.Id != question.Id {
				continue
			}
			return nil, err
		}
		if answer.Id != question.Id || !answer.Response {
			continue
		}
		asked := question.Question[0]
		if len(answer.Question) == 1 {
			got := answer.Question[0]
			if got.Qtype != asked.Qtype || dns.CanonicalName(got.Name) != dns.CanonicalName(asked.Name) {
				continue
			}
		}
		return answer, nil
	}
}
