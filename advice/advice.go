// Package advice is what a model may say about a plan, and what of it holds.
//
// The parties: Patchwrit builds a Dossier (numbered evidence about one plan,
// from an allow-list of fields); whoever advises, a model or a person, sends an
// Answer; Verify judges it without any model; people and control read the
// Report. The objects: an Evidence is what one source says, with the bytes that
// quotes point into and the facts that these bytes are; a Claim is one typed
// statement that cites evidence; a Proposal is keep, hold or escalate, and an
// order within one class of changes.
//
// The promise: an answer is hostile bytes. Only what the cited evidence says, by
// a source that may say it, fresh, and not overruled by a stronger source of the
// same dossier, is verified; nothing rests on untrusted text. Nothing here
// permits, makes work or shortens a wait: what a report accepts can only hold a
// plan, bring it before people, or order changes that happen anyway. The same
// bytes and the same time give the same report.
//
// It asks no model, sends nothing, and does not say whether a source is right:
// a lie that an authenticated source tells is verified.
package advice

import (
	"github.com/patchwrit/patchwrit/advisory"
)

// Limits of one dossier and one answer. A plan that needs a larger dossier gets
// no advice.
const (
	MaxDossier  = 4 << 20   // bytes
	MaxEvidence = 4096      // pieces in a dossier
	MaxAnswer   = 256 << 10 // bytes
	MaxClaims   = 256
	MaxCited    = 16 // evidence ids, and quotes, of one claim
	MaxOrder    = 4096
	MaxUnknowns = 64

	maxField     = 512      // bytes of a field of a claim: the longest id or name in use is that of a record
	maxNarrative = 16 << 10 // bytes
	maxProse     = 2 << 10  // bytes of untrusted text in one piece of evidence
)

// Channel says how a piece of evidence came here.
type Channel string

// The closed set of channels.
const (
	Vendor    Channel = "signed_vendor"  // inside bytes under the vendor's signature, checked here
	Tracker   Channel = "tracker"        // a record of a distribution, or of a database of vulnerabilities
	CNARecord Channel = "cna_record"     // a record of the CVE program; scores of its authority
	KEV       Channel = "kev"            // CISA's catalogue of known exploited vulnerabilities
	EPSS      Channel = "epss"           // FIRST's scores
	SSVC      Channel = "ssvc"           // decision points, as CISA publishes them
	NVD       Channel = "nvd"            // NIST's pages
	Inventory Channel = "inventory"      // what the hosts of the plan have
	Solver    Channel = "solver"         // what the package manager's own dry run would do
	Artefact  Channel = "artefact"       // what is in the packages' bytes
	Untrusted Channel = "untrusted_text" // prose. It carries no fact and supports nothing
)

var channels = []Channel{Vendor, Tracker, CNARecord, KEV, EPSS, SSVC, NVD, Inventory, Solver, Artefact, Untrusted}

// Own is the authority of what Patchwrit measured itself, about hosts and
// artefacts only.
const Own advisory.Authority = "patchwrit"

// rank orders authorities within one dossier, the strongest highest.
func rank(a advisory.Authority) int {
	if a == Own {
		return len(advisory.Authorities) + 1
	}
	return a.Rank()
}

// Kind is what a claim, and a fact, is about.
type Kind string

// The closed set of kinds. Each comment says what stands in the fields; a
// package is a purl without version of the dossier, or "name:arch" for a change
// of the plan.
const (
	CVEExists       Kind = "cve_exists"       // about: the id; value: yes, or rejected
	PackageAffected Kind = "package_affected" // about, package, version; value: yes, no or unknown
	AffectedRange   Kind = "affected_range"   // about, package; value: ">=A <B", ">=A <=B" or ">=A"; A is 0 for "every version before"
	FixedVersion    Kind = "fixed_version"    // about, package; value: a version
	Severity        Kind = "severity"         // about, source, version: "CVSS_V3" …; value: the vector, the word, or the score as "9.8"
	KEVMember       Kind = "kev_member"       // about, as_of; value: yes or no
	EPSSScore       Kind = "epss"             // about, as_of; value: "0.97567"
	Exploitation    Kind = "exploitation"     // about, source; value: "exploitation=active", "automatable=yes", "technical_impact=total"
	PatchArtifact   Kind = "patch_artifact"   // package, version: the new one; value: SHA-256
	Supersedes      Kind = "supersedes"       // package, version: the old one; value: the new one
	DependsBefore   Kind = "depends_before"   // package goes before value, both changes of the plan
	RebootRequired  Kind = "reboot_required"  // package; value: yes or no
	AssetFact       Kind = "asset_fact"       // about: hosts, class, network or to_class; package for to_class; value
	Workaround      Kind = "workaround"       // about; value. No source here says one, so it is never verified
)

// Kinds are all of them.
var Kinds = []Kind{CVEExists, PackageAffected, AffectedRange, FixedVersion, Severity, KEVMember, EPSSScore, Exploitation,
	PatchArtifact, Supersedes, DependsBefore, RebootRequired, AssetFact, Workaround}

// Verdict is what becomes of a claim.
type Verdict string

// The closed set of verdicts. Only the first is worth anything.
const (
	Verified     Verdict = "verified"     // cited evidence that may say so says so, and it is fresh
	Contradicted Verdict = "contradicted" // evidence of the dossier says otherwise
	Unsupported  Verdict = "unsupported"  // nothing that is cited and may say so says so
	Stale        Verdict = "stale"        // what says so is too old
	OutOfScope   Verdict = "out_of_scope" // the dossier is not about this
	Malformed    Verdict = "malformed"    // it is no claim of its kind, or cites what the dossier has not
)

// Verdicts are all of them.
var Verdicts = []Verdict{Verified, Contradicted, Unsupported, Stale, OutOfScope, Malformed}

// Ages are the greatest ages, in seconds, at which evidence still supports a
// claim.
type Ages struct {
	Records int64 // advisories, CVE records, SSVC, NVD: by the newest record of the reading
	KEV     int64 // by the catalogue's release
	EPSS    int64 // by the day of the scores
	Plan    int64 // what is known of the plan's hosts and artefacts: by its making
}

// Days14 is what a scan believes, too: 14 days, and for a plan its longest life.
var Days14 = Ages{Records: 14 * 86400, KEV: 14 * 86400, EPSS: 14 * 86400, Plan: 7 * 86400}

// of gives the limit of a channel.
func (a Ages) of(c Channel) int64 {
	switch c {
	case KEV:
		return a.KEV
	case EPSS:
		return a.EPSS
	case Inventory, Solver, Artefact:
		return a.Plan
	}
	return a.Records
}
