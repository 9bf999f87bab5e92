package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
)

// evidence has the control plane put together what an auditor wants about every
// plan, and checks each file as an auditor would, with no server.
func (s *stage) evidence() error {
	if err := os.MkdirAll(s.fleet.In("evidence"), 0o755); err != nil {
		return err
	}
	ok, checks := true, 0
	for _, p := range slices.Concat(s.high, s.low) {
		file := filepath.Join("evidence", p.Digest.Short()+".json")
		argv := append([]string{"patchwrit", "evidence", "export", string(p.Digest), "-o", s.fleet.In(file)}, s.fleet.House()...)
		if _, err := s.fleet.Do(s.ctx, append(argv, s.fleet.Server()...)...); err != nil {
			return err
		}
		out, err := s.fleet.Do(s.ctx, append([]string{"patchwrit", "verify", s.fleet.In(file), "-o", "json"}, s.fleet.House()...)...)
		if err != nil {
			return err
		}
		var r evidence.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			return err
		}
		fmt.Printf("      plan %s: %d checks, all hold: %t\n", p.Digest.Short(), len(r.Checks), r.OK)
		ok, checks = ok && r.OK, checks+len(r.Checks)
		if s.summary.Evidence == "" {
			s.summary.Evidence = file
		}
	}
	s.summary.Verify = verified{ok, checks}
	return nil
}

// tamper flips every byte of a small bundle, one at a time; each flip must be
// found. The bundles above hold Debian's whole index and are too large for that,
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
	if err := os.WriteFile(s.fleet.In("evidence", "small.json"), raw, 0o644); err != nil {
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
