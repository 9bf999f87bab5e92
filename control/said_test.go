package control

import (
	"testing"

	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/canon"
)

// TestNoHoldBeginsByALostSay: a hold goes on to its end; what was said by a model that
// lost its say since begins none, as when a window of the rules opens later.
func TestNoHoldBeginsByALostSay(t *testing.T) {
	plan, model := canon.SumFile([]byte("plan")), canon.SumFile([]byte("model"))
	for name, x := range map[string]struct {
		then, now conduct.Say
		until     int64
		want      conduct.Say
	}{
		"as it was":                {conduct.Hold, conduct.Hold, 0, conduct.Hold},
		"it lost all":              {conduct.Hold, conduct.Shadow, 0, conduct.Shadow},
		"it lost a step":           {conduct.Hold, conduct.Show, 0, conduct.Show},
		"the hold has begun":       {conduct.Hold, conduct.Shadow, 9, conduct.Hold},
		"it was promoted since":    {conduct.Shadow, conduct.Hold, 0, conduct.Shadow},
		"it is not there any more": {conduct.Hold, "", 0, ""},
	} {
		c := &Control{book: newBook()}
		observed{Case: conduct.Case{Plan: plan, Model: model, Say: x.then}, Nth: 1}.enter(c.book)
		Model{Digest: model, Say: x.now}.enter(c.book)
		a := Advised{Until: x.until}
		a.Exchange.Plan = plan
		a.enter(c.book)
		if got := c.said(plan); got != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
	if got := (&Control{book: newBook()}).said(plan); got != conduct.Hold {
		t.Errorf("advice from before there was a registry: %q", got)
	}
}
