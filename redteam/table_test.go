package redteam

import (
	"regexp"
	"testing"

	"github.com/patchwrit/patchwrit/refusal/explain"
)

// named is what the house has promised to try, each with the rows that do it.
var named = map[string][]string{
	"trojaned .deb":                      {"trojaned-deb", "trojan-approved-by-people"},
	"right key, wrong origin":            {"right-key-wrong-origin"},
	"forged approval":                    {"forged-approval"},
	"approval of plan A on plan B":       {"approval-of-another-plan", "approval-relabelled"},
	"login assertion or deny as a yes":   {"login-as-yes", "deny-as-yes", "deny-relabelled-as-yes"},
	"one person twice":                   {"one-person-twice"},
	"author approving":                   {"author-approves"},
	"replayed writ":                      {"replayed-writ"},
	"replayed after restoring the state": {"replayed-after-restoring-state", "replayed-after-restoring-state-and-mark"},
	"expired":                            {"expired-writ", "expired-plan"},
	"other host's":                       {"other-hosts-writ"},
	"older generation":                   {"older-generation"},
	"package swapped":                    {"package-swapped"},
	"extra removal":                      {"extra-removal", "extra-removal-by-the-solver"},
	"hidden branch in the plan's tree":   {"hidden-branch", "hidden-branch-unseen"},
	"duplicate branch":                   {"duplicate-branch"},
	"downgrade":                          {"downgrade", "below-the-floor", "downgrade-under-a-grant"},
	"fake gate failure":                  {"fake-gate-failure", "used-writ-for-its-rollback"},
	"old InRelease":                      {"old-inrelease"},
	"far-future InRelease":               {"far-future-inrelease"},
	"plan released to all waves at once": {"all-waves-at-once", "forged-receipt"},
	"grant before its soak":              {"grant-before-its-soak", "grant-before-its-slot"},
	"grant outside its labels":           {"grant-outside-its-labels", "relabelled-by-the-control-plane"},
	"grant beyond its host budget":       {"grant-beyond-its-budget"},
	"grant for critical.json":            {"grant-for-critical"},
	"agent package under a grant":        {"grant-for-the-agent"},
	"inclusion proof of something else":  {"inclusion-of-something-else"},
	"quorum-signed inconsistent log":     {"inconsistent-checkpoint"},
	"no lease":                           {"no-lease", "too-few-leases"},
	"old lease":                          {"old-lease"},
	"lease for another nonce":            {"lease-for-another-nonce"},
	"enrol to a false root":              {"false-root", "enrol-to-a-false-root"},
	"log forked for one agent":           {"log-forked-for-one-agent"},
	"ledger row edited":                  {"ledger-row-edited", "database-row-edited"},
	"ledger row deleted":                 {"ledger-row-deleted", "database-row-deleted"},
	"ledger reordered":                   {"ledger-rows-reordered"},
	"ledger truncated":                   {"ledger-truncated", "ledger-truncated-with-its-checkpoint"},
	"ledger re-signed":                   {"ledger-resigned"},
	"injected text":                      {"injected-log-line", "injected-hostname", "injected-package-description"},
	"halt":                               {"step-under-a-halt"},
	"agent named *":                      {"agent-named-star", "agent-speaks-as-another"},
	"agent A as B":                       {"agent-speaks-as-another", "agent-listens-as-another", "pass-for-another", "anothers-receipt"},
	"rogue and cloned agent":             {"rogue-agent-without-a-token", "rogue-agent-not-in-the-trust-root", "token-used-twice", "enrol-in-anothers-name", "cloned-agent"},
	"tree re-signed with the log's key":  {"witness-edited-entry", "witness-deleted-entry", "witness-reordered-entries", "witness-truncated-log"},
	"all control-plane keys stolen":      {"control-plane-owned-without-a-grant", "control-plane-owned-with-a-grant"},
}

func TestTheTableHoldsWhatWasPromised(t *testing.T) {
	there := map[string]bool{}
	id := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, r := range Table() {
		switch {
		case there[r.ID]:
			t.Errorf("%s stands twice", r.ID)
		case !id.MatchString(r.ID) || r.What == "" || r.Control == "" || r.Where == "":
			t.Errorf("%+v lacks something", r)
		case (r.make == nil) == (r.play == nil):
			t.Errorf("%s is played in no way, or in two", r.ID)
		case r.Code != "" && explain.Of(r.Code).Title == "refused":
			t.Errorf("%s: %s is in no catalogue", r.ID, r.Code)
		}
		there[r.ID] = true
	}
	for item, ids := range named {
		for _, id := range ids {
			if !there[id] {
				t.Errorf("%s: no row %s", item, id)
			}
		}
	}
}
