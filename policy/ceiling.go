package policy

import (
	"encoding/json"
	"fmt"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
)

// Ceilings makes a decision at least as strict as what no bundle may lift
// (promise P8's side of the rules): nothing runs by itself without a grant or
// above class routine, nothing happens on a host at autonomy level L0 or on one
// that the trust root does not know, and nothing goes down under a grant. Input
// is the canonical input; one that cannot be read denies.
func Ceilings(input []byte, d Decision) Decision {
	var in struct {
		Grant canon.Digest `json:"grant"`
		Plan  struct {
			Class change.Class `json:"class"`
		} `json:"plan"`
		Hosts []struct {
			ID     string `json:"id"`
			Domain string `json:"domain"`
		} `json:"hosts"`
		Facts struct {
			Hosts []struct {
				ID    string `json:"id"`
				Level Stated `json:"level"`
			} `json:"hosts"`
		} `json:"facts"`
		Branches []struct {
			Changes []struct {
				Op change.Op `json:"op"`
			} `json:"changes"`
		} `json:"branches"`
	}
	if err := json.Unmarshal(input, &in); err != nil {
		return d.atLeast(Deny, "ceiling_input", err.Error())
	}
	if d.Outcome == Allow && (in.Grant == "" || in.Plan.Class != change.Routine) {
		d = d.atLeast(Quorum, "ceiling_grant", "nothing runs by itself without a grant, or above class routine")
	}
	for _, h := range in.Hosts {
		if h.Domain == "" {
			d = d.atLeast(Deny, "ceiling_host", fmt.Sprintf("host %s is not in the trust root", h.ID))
		}
	}
	for _, h := range in.Facts.Hosts {
		if h.Level.Is == "L0" {
			d = d.atLeast(Deny, "ceiling_observe", fmt.Sprintf("host %s is at level L0: it is only observed", h.ID))
		}
	}
	for _, b := range in.Branches {
		for _, c := range b.Changes {
			if in.Grant != "" && c.Op == change.Downgrade {
				return d.atLeast(Deny, "ceiling_rollback", "no grant lets anything go down")
			}
		}
	}
	return d
}

// atLeast raises the outcome, and says why only when it had to.
func (d Decision) atLeast(o Outcome, rule, text string) Decision {
	if d.Outcome.Rank() >= o.Rank() {
		return d
	}
	d.Outcome, d.Until = o, 0
	d.Reasons = append(append([]Reason{}, d.Reasons...), Reason{Rule: rule, Outcome: o, Text: canon.NoteOf(text)})
	return d
}
