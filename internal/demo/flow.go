package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// grant has one person write a grant and two sign it.
func (s *stage) grant() error {
	fmt.Printf("    The soak is %s here, so that the demo ends; people choose hours.\n", soak())
	_, err := s.fleet.Grant(s.ctx, "grant.json", "--all", "--package", "*", "--origin", "debian-security", "--origin", "debian",
		"--ceiling", "routine", "--soak", soak(), "--slot", "rack-1=0s", "--slot", "rack-2=1s", "--budget", "20", "--life", "1d", "--note", "routine security fixes")
	if err != nil {
		return err
	}
	return s.show(append([]string{"patchwrit", "grant", "show", s.fleet.In("grant.json")}, s.fleet.House()...)...)
}

// plans starts the agents and waits until every host is in a plan that runs
// under the grant and in one that waits for people.
func (s *stage) plans() error {
	if err := s.fleet.StartAgents(s.ctx); err != nil {
		return err
	}
	if err := s.show(append([]string{"patchwrit", "host", "ls"}, s.fleet.Server()...)...); err != nil {
		return err
	}
	what := fmt.Sprintf("every host is in a plan under the grant and in one that waits (of %s; if the mirror's main suite has caught up, name others in PATCHWRIT_DEMO_ONLY)", only())
	err := s.fleet.Wait(s.ctx, what, solving, func() (bool, error) {
		plans, err := s.fleet.PlansNow(s.ctx)
		if err != nil {
			return false, err
		}
		s.low, s.high = nil, nil
		low, high := map[trust.HostID]bool{}, map[trust.HostID]bool{}
		for _, p := range plans {
			if p.Grant != "" {
				s.low = append(s.low, p)
				note(low, p.Hosts)
			} else if p.State == control.Review {
				s.high = append(s.high, p)
				note(high, p.Hosts)
			}
		}
		return len(low) == len(s.fleet.Machines) && len(high) == len(s.fleet.Machines), nil
	})
	if err != nil {
		return errors.Join(err, s.show(append([]string{"patchwrit", "plan", "ls"}, s.fleet.Server()...)...))
	}
	return s.show(append([]string{"patchwrit", "plan", "ls"}, s.fleet.Server()...)...)
}

func note(all map[trust.HostID]bool, hosts []trust.HostID) {
	for _, h := range hosts {
		all[h] = true
	}
}

// routine waits for the plans under the grant.
func (s *stage) routine() error { return s.carriedOut(s.low) }

// critical waits for the plans that people approved.
func (s *stage) critical() error { return s.carriedOut(s.high) }

// carriedOut waits until plans are finished, and looks whether every canary was
// done before any other host began.
func (s *stage) carriedOut(plans []control.Plan) error {
	for _, p := range plans {
		ended, err := s.fleet.AwaitPlan(s.ctx, "plan "+p.Digest.Short()+" has ended", running, func(q control.Plan) bool {
			return q.Digest == p.Digest && (q.State == control.Finished || q.State == control.Stopped || q.State == control.Denied || q.State == control.Expired)
		})
		if err != nil {
			return err
		}
		if ended.State != control.Finished {
			return fmt.Errorf("plan %s is %s: %s", p.Digest.Short(), ended.State, ended.Why.Text())
		}
		if err := s.canariesFirst(ended); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) receipts() (receipts []control.Receipt, err error) {
	return receipts, s.fleet.Get(s.ctx, "receipts", &receipts)
}

func (s *stage) canariesFirst(p control.Plan) error {
	receipts, err := s.receipts()
	if err != nil {
		return err
	}
	receipts = slices.DeleteFunc(receipts, func(r control.Receipt) bool { return r.Receipt.Plan != p.Digest })
	slices.SortFunc(receipts, func(a, b control.Receipt) int { return int(a.Receipt.Started - b.Receipt.Started) })
	ended := int64(0)
	for _, r := range receipts {
		if r.Receipt.Wave == 0 {
			ended = max(ended, r.Receipt.Ended)
		}
	}
	fmt.Printf("    plan %s (%s), packages %s:\n", p.Digest.Short(), p.Class, strings.Join(p.Packages, " "))
	for _, r := range receipts {
		fmt.Printf("      wave %d  %-6s %2d s  %s %s\n", r.Receipt.Wave, s.fleet.NameOf(string(r.Receipt.Host)), r.Receipt.Ended-r.Receipt.Started, r.Receipt.Outcome, r.Receipt.Code)
		if r.Receipt.Wave > 0 && r.Receipt.Started < ended {
			return fmt.Errorf("%s began before the canaries had ended", s.fleet.NameOf(string(r.Receipt.Host)))
		}
	}
	return nil
}

// approve lets two people sign; with PATCHWRIT_DEMO_YES nobody is asked.
func (s *stage) approve() error {
	for _, p := range s.high {
		for _, name := range []string{"ann", "bob"} {
			if name == "bob" {
				if err := s.waits(p); err != nil {
					return err
				}
			}
			argv := append([]string{"patchwrit", "approve", string(p.Digest), "--key", s.fleet.Key(name)}, s.fleet.House()...)
			if err := s.person(append(argv, s.fleet.Server()...)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// waits looks whether a plan with one approval still waits, without any writ.
func (s *stage) waits(p control.Plan) error {
	if err := s.show(append([]string{"patchwrit", "review", "ls"}, s.fleet.Server()...)...); err != nil {
		return err
	}
	var now control.Plan
	var writs []control.Writ
	if err := errors.Join(s.fleet.Get(s.ctx, "plans/"+string(p.Digest), &now), s.fleet.Get(s.ctx, "writs", &writs)); err != nil {
		return err
	}
	if now.State != control.Review || slices.ContainsFunc(writs, func(w control.Writ) bool { return w.Plan == p.Digest }) {
		return fmt.Errorf("with one approval plan %s is %s", p.Digest.Short(), now.State)
	}
	return nil
}

// effective sums up what every host did, by its receipts and by dpkg.
func (s *stage) effective() error {
	receipts, err := s.receipts()
	if err != nil {
		return err
	}
	for _, m := range s.fleet.Machines {
		after, err := versions(m)
		if err != nil {
			return err
		}
		h := hostSummary{ID: m.Name, Before: map[string]string{}, After: map[string]string{}, Effective: true}
		for key, v := range after {
			if was := s.before[m.Name][key]; was != v {
				h.Before[key], h.After[key] = was, v
			}
		}
		last := int64(0)
		for _, r := range receipts {
			if s.fleet.NameOf(string(r.Receipt.Host)) != m.Name {
				continue
			}
			e := r.Receipt.Effective
			h.Effective = h.Effective && r.Receipt.Outcome == writ.Done && e.Installed == "yes" && e.Running == "yes"
			if r.Receipt.Ended >= last {
				last, h.Writ = r.Receipt.Ended, string(r.Receipt.Writ)
			}
			fmt.Printf("    %-6s %s: installed %s · running %s\n", m.Name, r.Receipt.Outcome, e.Installed, e.Running)
		}
		if len(h.After) < 2 || !h.Effective || last == 0 {
			return fmt.Errorf("%s: %d packages changed, effective %t", m.Name, len(h.After), h.Effective)
		}
		s.summary.Hosts = append(s.summary.Hosts, h)
	}
	return nil
}
