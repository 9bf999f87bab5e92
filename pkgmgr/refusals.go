package pkgmgr

import "github.com/patchwrit/patchwrit/refusal"

// Refusals and outcomes of this room; refusal/catalogue.txt says what each
// means. The first group is said before anything was begun.
const (
	CodeRoot     refusal.Code = "PW-APT-ROOT"     // no Debian system there
	CodeDir      refusal.Code = "PW-APT-DIR"      // own directory is not private
	CodeTool     refusal.Code = "PW-APT-TOOL"     // apt, dpkg or namespaces are not usable
	CodeDatabase refusal.Code = "PW-APT-DATABASE" // package database unreadable
	CodeBroken   refusal.Code = "PW-APT-BROKEN"   // packages left half done by somebody
	CodeFrom     refusal.Code = "PW-APT-FROM"     // installed is not what the plan saw
	CodeHeld     refusal.Code = "PW-APT-HELD"     // on hold on this host
	CodePool     refusal.Code = "PW-APT-POOL"     // bytes missing or not readable
	CodeBytes    refusal.Code = "PW-APT-BYTES"    // bytes not those of the writ
	CodeOrigin   refusal.Code = "PW-APT-ORIGIN"   // vendor not in the trust root
	CodeVendor   refusal.Code = "PW-APT-VENDOR"   // vendor's index does not list the artefact
	CodeContents refusal.Code = "PW-APT-CONTENTS" // the artefact is another package inside
	CodeBack     refusal.Code = "PW-APT-BACK"     // the way back is not there
	CodeSolver   refusal.Code = "PW-APT-SOLVER"   // rehearsal differs from the writ
	CodeLock     refusal.Code = "PW-APT-LOCK"     // another package manager is at work
	CodeSpace    refusal.Code = "PW-APT-SPACE"    // not enough room
	CodeJournal  refusal.Code = "PW-APT-JOURNAL"  // the journal did not take it
	CodeRunning  refusal.Code = "PW-APT-RUNNING"  // an earlier transaction still runs

	// How a begun transaction ended, when not well.
	CodeGate        refusal.Code = "PW-APT-GATE"        // the gate saw another set of operations, or none
	CodeScript      refusal.Code = "PW-APT-SCRIPT"      // a maintainer script failed
	CodeFull        refusal.Code = "PW-APT-FULL"        // the disk filled up on the way
	CodeExit        refusal.Code = "PW-APT-EXIT"        // the package manager says it failed
	CodeInterrupted refusal.Code = "PW-APT-INTERRUPTED" // killed in the middle
	CodeExtra       refusal.Code = "PW-APT-EXTRA"       // something else changed as well
	CodeFiles       refusal.Code = "PW-APT-FILES"       // database and files disagree

	// CodeLockdown is said by the gate to an apt run without a writ.
	CodeLockdown refusal.Code = "PW-APT-LOCKDOWN"
)
