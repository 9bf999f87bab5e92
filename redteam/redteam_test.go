package redteam

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"testing"
)

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestEveryAttackOnRealHosts plays the whole table.
func TestEveryAttackOnRealHosts(t *testing.T) {
	s := newStage(t, built(t))
	results, err := Run(context.WithoutCancel(t.Context()), s.scene)
	if err != nil {
		t.Error(err)
	}
	judge(t, results, Table())
}

// judge wants each row to have ended as it says.
func judge(t *testing.T, results []Result, rows []Row) {
	t.Helper()
	byID := map[string]Result{}
	for _, r := range results {
		byID[r.ID] = r
	}
	for _, row := range rows {
		r, played := byID[row.ID]
		switch {
		case !played:
			t.Errorf("%s was not played", row.ID)
		case !r.OK():
			t.Errorf("%s: %s %s (expected %s), control %t: %s", r.ID, r.Outcome, r.Code, r.Expected, r.ControlOK, r.Detail)
		}
	}
	if out := os.Getenv("PATCHWRIT_REDTEAM_RESULTS"); out != "" {
		raw, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
