package visit

import (
	"encoding/json"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/trust"
)

// Tools are all that a visitor may do. A test holds the list to a golden file: a
// new line there is a decision.
var Tools = []Tool{
	{"host_ls", "List hosts", "List the hosts that the control plane knows, ascending by fingerprint. A host chooses its name itself.", false},
	{"host_findings", "List a host's findings", "List the vulnerabilities of one host with their exposure clocks and days, those that run first.", false},
	{"finding_ls", "List findings of the fleet", "List the vulnerabilities that concern some host, those of the most hosts first. Unknown is not clean.", false},
	{"finding_hosts", "Say which hosts a vulnerability concerns", "Say which hosts a vulnerability concerns, by a CVE or advisory id. While gaps is not empty, a host may be missing.", false},
	{"finding_explain", "Explain a finding", "Say why a vulnerability does or does not concern one host: what was compared, and what each source says.", false},
	{"plan_ls", "List plans", "List plans, the newest first, of one state or of all.", false},
	{"plan_show", "Show a plan", "Show one plan: its changes, the rules' verdict with each rule that spoke, and how it stands.", false},
	{"plan_dossier", "Get a plan's dossier", "Get the numbered evidence about a plan, with the instructions and the JSON Schema by which advice about it is written.", false},
	{"review_ls", "List reviews", "List the plans that wait for people, the most urgent first. A visitor cannot answer any.", false},
	{"why", "Say why", "Say why a host, or one package on it, was patched, waits or was refused, and what can unblock it.", false},
	{"advice_check", "Check advice", "Judge advice about a plan claim by claim against its dossier, without a model. It changes nothing.", false},
	{"plan_propose", "Propose a plan", "Ask the control plane to look for work now on these hosts, about these packages. Each package needs a finding on each host. Control plans as it always does; rules, people and hosts decide as always.", true},
	{"proposal_show", "Show a proposal", "Say what became of an earlier plan_propose: waiting, planned, under way, or refused with a code.", false},
}

// Page asks for a part of a list.
type Page struct {
	After string `json:"after,omitempty" jsonschema:"the last id of the page before"`
	Limit int    `json:"limit,omitempty" jsonschema:"how many at most; 100 when it is left out"`
}

// Hosts answers host_ls.
type Hosts struct {
	Hosts []Host `json:"hosts"`
	More  bool   `json:"more" jsonschema:"there are more: ask again with after"`
}

// Host is one host. Of its labels only those that Patchwrit reads are given.
type Host struct {
	ID       trust.HostID `json:"id" jsonschema:"fingerprint of the host's key"`
	Name     Untrusted    `json:"name"`
	State    string       `json:"state" jsonschema:"pending, enrolled, cloned or gone"`
	Domain   string       `json:"domain" jsonschema:"fault domain"`
	Role     string       `json:"role"`
	Exposure string       `json:"exposure" jsonschema:"whether the public reaches it: internet, internal, or empty for unknown"`
	Seen     int64        `json:"seen" jsonschema:"Unix seconds"`
}

// HostPage asks about one host.
type HostPage struct {
	Host  trust.HostID `json:"host" jsonschema:"fingerprint, as host_ls gives it"`
	Limit int          `json:"limit,omitempty" jsonschema:"how many at most; 100 when it is left out"`
}

// HostFindings answers host_findings.
type HostFindings struct {
	Host     trust.HostID `json:"host"`
	Findings []Clock      `json:"findings"`
	More     bool         `json:"more" jsonschema:"the list was cut at limit"`
}

// Clock is one vulnerability on one host.
type Clock struct {
	Name    string    `json:"name"`
	Names   []string  `json:"names"`
	First   int64     `json:"first" jsonschema:"first seen, Unix seconds"`
	Closed  int64     `json:"closed" jsonschema:"when the fix became effective; 0 while it runs"`
	Class   string    `json:"class" jsonschema:"deadline class, or empty"`
	Due     int64     `json:"due" jsonschema:"Unix seconds; 0: no day"`
	Spent   int64     `json:"spent" jsonschema:"seconds of exposure"`
	Overdue bool      `json:"overdue"`
	Waits   Untrusted `json:"waits"`
}

// Limit asks for a list.
type Limit struct {
	Limit int `json:"limit,omitempty" jsonschema:"how many at most; 100 when it is left out"`
}

// Findings answers finding_ls.
type Findings struct {
	Findings []Count `json:"findings"`
	More     bool    `json:"more" jsonschema:"the list was cut at limit"`
}

// Count is how many hosts a vulnerability concerns.
type Count struct {
	Name         string `json:"name"`
	Affected     int    `json:"affected"`
	Unknown      int    `json:"unknown"`
	Investigated int    `json:"investigated"`
}

// Named asks about one vulnerability.
type Named struct {
	Finding string `json:"finding" jsonschema:"CVE or advisory id, such as CVE-2026-1234"`
}

// Concerned answers finding_hosts.
type Concerned struct {
	Finding      string         `json:"finding"`
	Records      []string       `json:"records" jsonschema:"every record that goes by the name"`
	Affected     []trust.HostID `json:"affected"`
	Unknown      []trust.HostID `json:"unknown"`
	Investigated []trust.HostID `json:"investigated"`
	Counts       Count          `json:"counts" jsonschema:"of all, when the lists were cut"`
	Gaps         []Untrusted    `json:"gaps" jsonschema:"why a host may be missing; while there is one, nothing here means clean"`
	Hosts        int            `json:"hosts" jsonschema:"asked about"`
	Read         int64          `json:"read" jsonschema:"when the feeds were, Unix seconds"`
}

// NamedOn asks about one vulnerability on one host.
type NamedOn struct {
	Finding string       `json:"finding" jsonschema:"CVE or advisory id"`
	Host    trust.HostID `json:"host" jsonschema:"fingerprint, as host_ls gives it"`
	Package string       `json:"package,omitempty" jsonschema:"binary or source package; all when it is left out"`
}

// Explained answers finding_explain.
type Explained struct {
	Host     trust.HostID `json:"host"`
	Findings []Finding    `json:"findings"`
	More     bool         `json:"more"`
}

// Finding is one answer of the matcher.
type Finding struct {
	Advisory string    `json:"advisory"`
	Package  string    `json:"package"`
	Arch     string    `json:"arch"`
	Version  string    `json:"version" jsonschema:"installed"`
	Compared string    `json:"compared" jsonschema:"source version that was compared"`
	Fixed    string    `json:"fixed" jsonschema:"first source version without it, or empty"`
	State    string    `json:"state" jsonschema:"affected, not_affected, unknown or under_investigation"`
	Code     string    `json:"code"`
	Text     Untrusted `json:"text"`
	Sources  []Source  `json:"sources"`
}

// Source is what one record says.
type Source struct {
	Advisory  string       `json:"advisory"`
	Source    string       `json:"source"`
	Feed      string       `json:"feed"`
	Authority string       `json:"authority"`
	State     string       `json:"state"`
	Fixed     string       `json:"fixed"`
	Record    canon.Digest `json:"record" jsonschema:"SHA-256 of the record's bytes"`
}

// PlanList asks for plans.
type PlanList struct {
	State string `json:"state,omitempty" jsonschema:"proposed, held, review, running, finished, denied, stopped or expired; all when it is left out"`
	Limit int    `json:"limit,omitempty" jsonschema:"how many at most; 100 when it is left out"`
}

// Plans answers plan_ls.
type Plans struct {
	Plans []Plan `json:"plans"`
	More  bool   `json:"more" jsonschema:"the list was cut at limit"`
}

// Plan is one plan in short.
type Plan struct {
	Plan     canon.Digest `json:"plan"`
	State    string       `json:"state"`
	Class    change.Class `json:"class"`
	Hosts    int          `json:"hosts"`
	Packages []string     `json:"packages"`
	Created  int64        `json:"created"`
	Expires  int64        `json:"expires"`
	Until    int64        `json:"until" jsonschema:"end of the review or hold; 0: none"`
	Due      int64        `json:"due" jsonschema:"by when its work has to be effective; 0: no day"`
	Why      Untrusted    `json:"why"`
}

// PlanID asks about one plan.
type PlanID struct {
	Plan canon.Digest `json:"plan" jsonschema:"the plan's digest, as plan_ls gives it"`
}

// PlanShown answers plan_show.
type PlanShown struct {
	Plan    Plan           `json:"plan"`
	Author  trust.PersonID `json:"author" jsonschema:"who wrote it; cannot approve it"`
	Hosts   []trust.HostID `json:"hosts"`
	Changes []Change       `json:"changes"`
	Verdict []Verdict      `json:"verdict" jsonschema:"none or one"`
	Grant   canon.Digest   `json:"grant" jsonschema:"the standing approval that it runs under, or empty"`
	Writs   []State        `json:"writs" jsonschema:"how many hosts stand how"`
	More    bool           `json:"more" jsonschema:"hosts or changes were cut"`
}

// Change is one change of a plan, on some of its hosts.
type Change struct {
	Op       string       `json:"op"`
	Package  string       `json:"package"`
	Arch     string       `json:"arch"`
	From     string       `json:"from"`
	To       string       `json:"to"`
	Class    change.Class `json:"class"`
	Origin   string       `json:"origin"`
	Artefact canon.Digest `json:"artefact"`
	Hosts    int          `json:"hosts"`
}

// Verdict is what the rules answered.
type Verdict struct {
	Outcome string       `json:"outcome" jsonschema:"allow, quorum, hold or deny"`
	Class   change.Class `json:"class" jsonschema:"the quorum wanted"`
	At      int64        `json:"at"`
	Until   int64        `json:"until"`
	Rules   canon.Digest `json:"rules" jsonschema:"SHA-256 of the signed rules"`
	Reasons []Reason     `json:"reasons"`
}

// Reason is one rule that spoke.
type Reason struct {
	Rule    string    `json:"rule"`
	Outcome string    `json:"outcome"`
	Text    Untrusted `json:"text"`
}

// State counts something by its state.
type State struct {
	State string `json:"state"`
	N     int    `json:"n"`
}

// Dossier answers plan_dossier.
type Dossier struct {
	ID           canon.Digest    `json:"id" jsonschema:"the dossier's digest: advice names it"`
	Instructions string          `json:"instructions"`
	Dossier      advice.Dossier  `json:"dossier" jsonschema:"evidence of the channel untrusted_text is what strangers wrote"`
	Schema       json.RawMessage `json:"schema" jsonschema:"JSON Schema of advice about this dossier"`
}

// Reviews answers review_ls.
type Reviews struct {
	Reviews []Review `json:"reviews"`
	More    bool     `json:"more" jsonschema:"the list was cut at limit"`
}

// Review is a plan that waits for people. It names none of them.
type Review struct {
	Plan     canon.Digest `json:"plan"`
	Class    change.Class `json:"class"`
	Hosts    int          `json:"hosts"`
	Packages []string     `json:"packages"`
	Asked    int64        `json:"asked"`
	Until    int64        `json:"until" jsonschema:"then silence is a no"`
	Due      int64        `json:"due"`
	Said     int          `json:"said" jsonschema:"how many people said yes"`
	Why      Untrusted    `json:"why"`
}

// HostPackage asks about a host, or one package on it.
type HostPackage struct {
	Host    trust.HostID `json:"host" jsonschema:"fingerprint, as host_ls gives it"`
	Package string       `json:"package,omitempty" jsonschema:"all when it is left out"`
}

// Whys answers why.
type Whys struct {
	Host    trust.HostID `json:"host"`
	Reasons []Why        `json:"reasons"`
}

// Why is one reason.
type Why struct {
	Plan     string    `json:"plan" jsonschema:"digest, or empty"`
	Packages []string  `json:"packages"`
	State    string    `json:"state"`
	Text     Untrusted `json:"text"`
	Code     string    `json:"code" jsonschema:"of a refusal, or empty"`
	Title    string    `json:"title" jsonschema:"what the code means"`
	Do       string    `json:"do" jsonschema:"what people can do about it"`
	Next     int64     `json:"next" jsonschema:"next possible moment; 0: not known"`
	Due      int64     `json:"due"`
	Overdue  bool      `json:"overdue"`
}

// Advice asks for a judgement.
type Advice struct {
	Answer string `json:"answer" jsonschema:"the advice, as JSON text of the schema that plan_dossier gave"`
}

// Judged answers advice_check.
type Judged struct {
	Holds  bool          `json:"holds" jsonschema:"every claim is verified and nothing was rejected, or it abstains"`
	Report advice.Report `json:"report"`
}

// Ask asks for work.
type Ask struct {
	Hosts    []trust.HostID `json:"hosts" jsonschema:"1 to 32 fingerprints, as host_ls gives them"`
	Packages []string       `json:"packages" jsonschema:"1 to 32 binary or source packages"`
}

// ProposalID asks about one request.
type ProposalID struct {
	Proposal canon.Digest `json:"proposal" jsonschema:"as plan_propose gave it"`
}

// The states of a request on a host.
const (
	Waiting  = "waiting"   // control has not looked yet
	Planned  = "planned"   // a plan was made of it
	UnderWay = "under_way" // a plan that was there does it
	Refused  = "refused"
)

// Proposal answers plan_propose and proposal_show.
type Proposal struct {
	Proposal canon.Digest `json:"proposal"`
	Hosts    []Outcome    `json:"hosts"`
}

// Outcome is what became of a request on one host.
type Outcome struct {
	Host  trust.HostID   `json:"host"`
	State string         `json:"state" jsonschema:"waiting, planned, under_way or refused"`
	Plans []canon.Digest `json:"plans"`
	Code  string         `json:"code" jsonschema:"of the refusal, or empty"`
	Text  Untrusted      `json:"text"`
}
