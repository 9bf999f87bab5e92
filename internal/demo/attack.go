package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/writ"
)

// refuse hands the host what it must refuse. The control of each is the writ
// that it has just carried out.
func (s *stage) refuse() error {
	raw, err := os.ReadFile(s.in("writ.json"))
	if err != nil {
		return err
	}
	for _, a := range []struct {
		id, code string
		exit     int
		spoil    func(*writ.Writ)
	}{
		{"replayed-writ", "PW-WRIT-CONSUMED", 5, func(*writ.Writ) {}},
		{"package-swapped", "PW-WRIT-BRANCH", 5, func(w *writ.Writ) {
			w.Branch.Changes[0].Artefact = canon.SumFile([]byte("trojan"))
			w.Body.Branch = canon.Sum(plan.TypeBranch, w.Branch.Bytes())
		}},
		{"approval-dropped", "PW-WRIT-APPROVAL", 4, func(w *writ.Writ) {
			w.Approvals = w.Approvals[:1]
			w.Body.Approvals = writ.ApprovalsDigest(w.Approvals)
		}},
		{"life-stretched", "PW-WRIT-LOG", 5, func(w *writ.Writ) { w.Body.Expires++ }},
	} {
		code, err := s.attack(raw, a.spoil, a.id, a.exit)
		if err != nil {
			return err
		}
		outcome := "refused"
		if code != a.code {
			outcome = "WRONG"
		}
		s.summary.Attacks = append(s.summary.Attacks, attack{a.id, "host", a.code, code, outcome, len(s.summary.Hosts) == 1 && s.summary.Hosts[0].Effective})
		if outcome != "refused" {
			return fmt.Errorf("%s: got %q, expected %s", a.id, code, a.code)
		}
	}
	return nil
}

// attack applies a spoilt writ and returns the code of the host's refusal.
func (s *stage) attack(raw []byte, spoil func(*writ.Writ), id string, exit int) (string, error) {
	var w writ.Writ
	if err := canon.Decode(raw, &w); err != nil {
		return "", err
	}
	spoil(&w)
	file := s.in("attack-" + id + ".json")
	if err := os.WriteFile(file, canon.MustEncode(w), 0o644); err != nil {
		return "", err
	}
	out, err := s.try(call{argv: s.applyArgs(file), code: exit, mute: true})
	if err != nil {
		return "", err
	}
	for _, word := range strings.Fields(out) {
		if strings.HasPrefix(word, "PW-") {
			fmt.Printf("    %s: %s\n", id, strings.TrimRight(word, ":"))
			return strings.TrimRight(word, ":"), nil
		}
	}
	return "", errors.New("the agent refused without a code")
}

// verify exports the evidence and checks it as an auditor would.
func (s *stage) verify() error {
	argv := append([]string{"patchwrit", "evidence", "export", s.in("plan.json"), "--pool", s.in("pool"),
		"--agent-state", s.in("hosts", hostName, "state"), "-o", s.in("evidence.json")}, s.ledger()...)
	if _, err := s.try(call{argv: argv}); err != nil {
		return err
	}
	argv = append([]string{"patchwrit", "verify", s.in("evidence.json")}, s.house()...)
	if _, err := s.try(call{argv: argv}); err != nil {
		return err
	}
	raw, err := s.do(append(argv, "-o", "json")...)
	if err != nil {
		return err
	}
	var r evidence.Report
	if err := json.Unmarshal([]byte(raw), &r); err != nil {
		return err
	}
	s.summary.Evidence, s.summary.Verify = "evidence.json", verified{r.OK, len(r.Checks)}
	return nil
}

// tamper flips every byte of a small bundle, one at a time; each flip must be
// found. The bundle above holds Debian's whole index and is too large for that,
// so this one is made here, in the same form, of a tiny vendor's packages.
func (s *stage) tamper() error {
	w, err := evidencetest.Make(evidencetest.Options{Hosts: 1})
	if err != nil {
		return err
	}
	raw, decide := w.Raw(), evidencetest.Decide(w.House.Root)
	if r := evidence.Run(raw, w.House.Root, decide, true); !r.OK {
		return fmt.Errorf("the control does not verify: %+v", r.Checks)
	}
	if err := os.WriteFile(s.in("evidence-small.json"), raw, 0o644); err != nil {
		return err
	}
	var found, next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(raw)) && s.ctx.Err() == nil; i = next.Add(1) - 1 {
				bad := bytes.Clone(raw)
				bad[i] ^= 1
				if !evidence.Run(bad, w.House.Root, decide, true).OK {
					found.Add(1)
				} else {
					fmt.Printf("    NOT FOUND: byte %d, %q\n", i, raw[max(0, i-20):min(int64(len(raw)), i+20)])
				}
			}
		})
	}
	wg.Wait()
	s.summary.Tamper = tampered{len(raw), int(found.Load())}
	fmt.Printf("    %d bytes flipped one at a time, %d found\n", len(raw), found.Load())
	if int(found.Load()) != len(raw) {
		return errors.New("some flips were not found")
	}
	return s.ctx.Err()
}
