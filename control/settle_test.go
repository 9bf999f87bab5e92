package control

import (
	"testing"
	"time"
)

// Hosts that bring their inventories together are planned for together, and
// hosts that never stop bringing some do not keep the others waiting.
func TestHostsThatComeTogetherArePlannedForTogether(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := &Control{Config: Config{Now: func() time.Time { return now }, Terms: Terms{Plan: time.Hour, Settle: 5 * time.Second}}}
	c.planned = now
	if c.due() {
		t.Fatal("nothing has happened, and it looks for work")
	}
	for range 3 {
		c.heard()
		now = now.Add(4 * time.Second)
		if c.due() {
			t.Fatal("it looks while inventories come in")
		}
	}
	now = now.Add(time.Second)
	if !c.due() {
		t.Error("no news for 5 s, and it does not look")
	}
	if c.due() {
		t.Error("it looks twice for one piece of news")
	}
	began := now
	for !c.due() {
		c.heard()
		if now = now.Add(time.Second); now.Sub(began) > 2*time.Minute {
			t.Fatal("steady news keep it from looking for ever")
		}
	}
	c.Terms.Settle = 0
	if c.heard(); !c.due() {
		t.Error("without a time to settle it does not look at once")
	}
}
