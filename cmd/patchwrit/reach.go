package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
)

// reached says whom a halt has reached.
type reached struct {
	Hosts int      `json:"hosts"` // in the scope, as the trust root names them
	Seen  int      `json:"seen"`  // asked for a lease since, and were told of the halt
	Live  []string `json:"live"`  // may still begin a step by an earlier lease
	Ends  int64    `json:"ends"`  // by then no host has a lease any more
	Known bool     `json:"known"` // false: too few witnesses say, and Live is not known
	Asked []string `json:"asked"` // who was asked, and what they could not say
}

// reach asks the witnesses, and the control plane when it is alive.
func reach(cmd *cobra.Command, root trust.Root, held ask.Held) *reached {
	r := &reached{Hosts: len(covered(root, held.Halt.Scope)), Live: []string{}, Asked: []string{}}
	p, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return r
	}
	r.lend(p, root, ask.Reaches(cmd.Context(), p.Witnesses(), held.Digest()), held, time.Now().Unix())
	if serverName(cmd) == "" {
		return r
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
	defer cancel()
	s, err := openServer(cmd)
	var hosts []control.HostView
	if err == nil {
		hosts, err = s.hosts(ctx)
	}
	if err != nil {
		r.Asked = append(r.Asked, "control plane: "+firstLine(err))
		return r
	}
	seen := 0
	for _, h := range hosts {
		if known, ok := root.Host(h.ID); ok && held.Halt.Scope.Covers(known) && h.Refused >= held.Halt.From {
			seen++
		}
	}
	r.Seen = max(r.Seen, seen)
	r.Asked = append(r.Asked, fmt.Sprintf("control plane: %d hosts asked since and were refused", seen))
	return r
}

// lend finds the hosts that may still hold a quorum of earlier leases. A witness
// that does not say, or does not remember long enough, may have lent to anybody
// until now, and counts so.
func (r *reached) lend(p tlog.Policy, root trust.Root, answers []ask.Reached, held ask.Held, now int64) {
	unknown := map[string]int64{}
	live := map[trust.HostID]map[string]int64{}
	for _, a := range answers {
		switch {
		case a.Err != nil:
			unknown[a.Witness] = now + writ.LeaseLife
			r.Asked = append(r.Asked, a.Witness+": "+firstLine(a.Err))
			continue
		case a.Reach.Since+writ.LeaseLife > a.Reach.Time:
			unknown[a.Witness] = a.Reach.Since + writ.LeaseLife
			r.Asked = append(r.Asked, a.Witness+": it remembers leases since "+when(a.Reach.Since)+" only")
		}
		r.Seen = max(r.Seen, a.Reach.Seen)
		for _, l := range a.Reach.Live {
			if live[l.Host] == nil {
				live[l.Host] = map[string]int64{}
			}
			live[l.Host][a.Witness] = l.Until
		}
	}
	ends, many := p.QuorumTime(unknown)
	r.Known, r.Ends = !many, ends
	for _, h := range covered(root, held.Halt.Scope) {
		times := live[h.ID]
		if len(times) == 0 {
			continue
		}
		for w, until := range unknown {
			times[w] = max(times[w], until)
		}
		if until, ok := p.QuorumTime(times); ok {
			r.Live = append(r.Live, string(h.ID))
			r.Ends = max(r.Ends, until)
		}
	}
	slices.Sort(r.Live)
}

func (r *reached) pairs(p *pairs) {
	p.add("hosts", "%d in its scope; %d of them asked since and were told", r.Hosts, r.Seen)
	switch {
	case !r.Known:
		p.add("", "whether one still holds an earlier lease is not known; by %s none does", when(r.Ends))
	case len(r.Live) == 0:
		p.add("", "%d of %d: the last lease has ended, so none begins a step", r.Hosts, r.Hosts)
	default:
		p.add("", "%d of %d: the last lease has ended; the last of the others ends %s", r.Hosts-len(r.Live), r.Hosts, when(r.Ends))
	}
	for _, h := range r.Live {
		p.add("", "may still begin: %s", h)
	}
	p.add("", "a step that has begun is not cut")
	for _, a := range r.Asked {
		p.add("asked", "%s", a)
	}
}
