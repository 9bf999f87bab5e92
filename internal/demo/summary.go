package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// summary is demo/summary.json. Paths are relative to demo/.
type summary struct {
	Hosts    []hostSummary      `json:"hosts"`
	Attacks  []attack           `json:"attacks"`
	Evidence string             `json:"evidence"`
	Trust    string             `json:"trust"`
	Verify   verified           `json:"verify"`
	Tamper   tampered           `json:"tamper"`
	Seconds  map[string]float64 `json:"seconds"`
}

type hostSummary struct {
	ID        string            `json:"id"`
	Before    map[string]string `json:"before"`
	After     map[string]string `json:"after"`
	Effective bool              `json:"effective"`
	Writ      string            `json:"writ"` // the last one that it carried out
}

type attack struct {
	ID       string `json:"id"`
	Where    string `json:"where"`
	Expected string `json:"expected_code"`
	Code     string `json:"code"`
	Outcome  string `json:"outcome"`
	Control  bool   `json:"control_ok"`
}

type verified struct {
	OK     bool `json:"ok"`
	Checks int  `json:"checks"`
}

type tampered struct {
	Tried int `json:"tried"`
	Found int `json:"found"`
}

// tell writes the summary and prints its table.
func (s *stage) tell() error {
	s.summary.Seconds["total"] = round(time.Since(s.began))
	b, err := json.MarshalIndent(s.summary, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.fleet.In("summary.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Printf("\n== Done in %.0f s\n", s.summary.Seconds["total"])
	for i, h := range s.summary.Hosts {
		fmt.Printf("host %-6s %-15s %s  effective: %t, last writ %.12s\n", h.ID, s.fleet.Machines[i].Addr, s.fleet.Hosts[i].Domain, h.Effective, h.Writ)
		for _, p := range slices.Sorted(maps.Keys(h.After)) {
			fmt.Printf("  %-28s %s -> %s\n", p, h.Before[p], h.After[p])
		}
	}
	for _, a := range s.summary.Attacks {
		fmt.Printf("attack %-34s %-8s %-9s %-26s control ok: %t\n", a.ID, a.Where, a.Outcome, a.Code, a.Control)
	}
	fmt.Printf("evidence: demo/%s, %d checks ok; %d of %d flipped bytes found\n", s.summary.Evidence, s.summary.Verify.Checks, s.summary.Tamper.Found, s.summary.Tamper.Tried)
	fmt.Printf("verify it again: bin/patchwrit verify demo/%s --trust demo/%s --root-sha256 %s\n", s.summary.Evidence, s.summary.Trust, s.fleet.House()[3])
	fmt.Printf("the control plane was at https://%s:8443 (demo/data: patchwrit up --data demo/data … runs it again); logs are in demo/logs\n", s.fleet.Street.Addr)
	fmt.Println("The approvers of this demo were software keys. summary: demo/summary.json; the roots stay at demo/hosts/*/root until 'make clean-demo'.")
	if s.wrong > 0 {
		return fmt.Errorf("%d attacks were not refused as they should be, or their controls did not work", s.wrong)
	}
	return nil
}
