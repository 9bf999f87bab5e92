package redteam

import (
	"context"
	"os"
	"strings"
	"testing"
)

// TestSomeActs plays a few acts, for whoever works on one:
// PATCHWRIT_REDTEAM_ACTS="a first honest plan,text that asks for work".
func TestSomeActs(t *testing.T) {
	names := os.Getenv("PATCHWRIT_REDTEAM_ACTS")
	if names == "" {
		t.Skip("PATCHWRIT_REDTEAM_ACTS names no acts; TestEveryAttackOnRealHosts plays all of them")
	}
	var some []act
	for _, a := range acts() {
		for name := range strings.SplitSeq(names, ",") {
			if a.name == name {
				some = append(some, a)
			}
		}
	}
	s := newStage(t, built(t))
	results, err := perform(context.WithoutCancel(t.Context()), s.scene, some)
	if err != nil {
		t.Error(err)
	}
	judge(t, results, rowsOf(some))
}
