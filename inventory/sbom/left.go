package sbom

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
)

// Why is a kind of reason why a component is not matched. It never changes its
// meaning.
type Why string

// What leaves a question open: the inventory gets a gap.
const (
	NoPurl         Why = "no-purl"            // open, but for files, data and keys
	Unreadable     Why = "purl-unreadable"    // the purl is no package URL, or one that tools read in two ways
	TypeUnmatched  Why = "type-not-matched"   // of a purl type that no feed here speaks of
	ReleaseUnknown Why = "release-unknown"    // of a distribution, and of which release is not said
	VersionMissing Why = "version-missing"    // a distribution's package without a version
	BadVersion     Why = "version-unreadable" // or a name that no package can have
	OtherSystem    Why = "other-system"       // than the one that the bill is matched as
	Contradictory  Why = "contradictory"      // the purl's type, namespace and distro are of different systems
	EmptyContainer Why = "container-empty"    // a container, and the bill lists nothing inside it
	Windows        Why = "windows"            // which is no goal
)

// What leaves none.
const (
	Subject  Why = "subject"  // the bill describes it by listing what it is made of
	Grouping Why = "contents" // a container, a lock file or a binary: the bill lists what is in it
	System   Why = "system"   // the system that the packages are of
	Repeated Why = "repeated" // the same purl was met before and got the same answer
)

// says is the reason for people, about each of the components that are counted.
// The purl type or the system stands for %s.
var says = map[Why]string{
	NoPurl:         "without a purl nothing says which package this is",
	Unreadable:     "the purl cannot be read",
	TypeUnmatched:  "no feed here covers the purl type %s",
	ReleaseUnknown: "nothing says for which release of the distribution (distro=debian-12 in the purl would)",
	VersionMissing: "no version is given",
	BadVersion:     "no package can have this name or version",
	OtherSystem:    "this belongs to another system than %s; scan the bill of each system alone",
	Contradictory:  "type, namespace and distro of the purl belong to different systems",
	EmptyContainer: "the bill lists nothing inside this container",
	Windows:        "this belongs to Windows, which Patchwrit does not scan on purpose",
	Subject:        "the bill describes this by the components that it lists",
	Grouping:       "this only holds other components, which the bill lists",
	System:         "this is the system that the packages belong to",
	Repeated:       "the same purl was counted before",
}

// Left is how many components of one type are not matched, for one reason.
type Left struct {
	Why   Why    `json:"reason"`
	Type  string `json:"type"` // the format's word, "library", "file"; "package" when it says none, "other" when the word is not known
	Count int    `json:"count"`
	First string `json:"first"` // purl or name of the first one met, printable ASCII
	Open  bool   `json:"open"`  // it could be vulnerable, so the answer is incomplete
	Text  string `json:"text"`  // the reason for people
}

// Sentence says it for people.
func (l Left) Sentence() string {
	return fmt.Sprintf("%d of type %s: %s (the first: %+q)", l.Count, l.Type, l.Text, l.First)
}

// kinds are the words for types of CycloneDX 1.6 ("component type") and SPDX 2.3
// ("primary package purpose").
var kinds = []string{"application", "framework", "library", "container", "platform", "operating-system", "device", "device-driver",
	"firmware", "file", "machine-learning-model", "data", "cryptographic-asset", "source", "archive", "install"}

// passive reports whether a component of this type and without a purl leaves no
// question open. Files and data belong to packages, which are components of their
// own; keys and algorithms are not installed in versions.
func passive(kind string) bool {
	return kind == "file" || kind == "data" || kind == "cryptographic-asset"
}

const (
	maxLeft  = 100 // entries; beyond, of each reason one
	maxFirst = 200 // characters
)

// left counts a component. what fills the reason's text.
func (g *gatherer) left(c component, why Why, open bool, what string) {
	if c.purl != "" && why != Repeated && !g.first(c.purl, string(why)) {
		why, open = Repeated, false
	}
	l := Left{Why: why, Type: c.kind, Count: 1, First: cmp.Or(c.purl, c.name), Open: open, Text: says[why]}
	if l.Type == "" {
		l.Type = "package"
	} else if !slices.Contains(kinds, l.Type) {
		l.Type = "other"
	}
	if strings.Contains(l.Text, "%s") {
		l.Text = fmt.Sprintf(l.Text, what)
	}
	g.count(l)
}

func (g *gatherer) count(l Left) {
	same := func(o *Left) bool { return o.Why == l.Why && o.Type == l.Type && o.Open == l.Open && o.Text == l.Text }
	i := slices.IndexFunc(g.doc.Left, func(o Left) bool { return same(&o) })
	if i < 0 && len(g.doc.Left) >= maxLeft {
		l.Type, l.Text = "other", strings.ReplaceAll(says[l.Why], "%s", "several kinds")
		i = slices.IndexFunc(g.doc.Left, func(o Left) bool { return same(&o) })
	}
	if i >= 0 {
		g.doc.Left[i].Count += l.Count
		return
	}
	if !strictjson.Printable(l.First) {
		l.First = string(canon.NoteOf(l.First))
	}
	l.First = l.First[:min(len(l.First), maxFirst)]
	g.doc.Left = append(g.doc.Left, l)
}

// close sorts what is left, and makes a gap of each open entry.
func (g *gatherer) close() {
	slices.SortStableFunc(g.doc.Left, func(a, b Left) int {
		return cmp.Or(strings.Compare(string(a.Why), string(b.Why)), strings.Compare(a.Type, b.Type), strings.Compare(a.Text, b.Text), bools(a.Open)-bools(b.Open))
	})
	inv := &g.doc.Inventory
	for _, l := range g.doc.Left {
		if l.Open {
			inv.Partial = append(inv.Partial, inventory.Gap{What: inventory.AreaPackages, Why: "not matched: " + l.Sentence()})
		}
	}
	switch {
	case len(inv.Packages) > 0 || len(g.doc.Libraries) > 0 && inv.OS.ID == "":
	case inv.OS.ID != "":
		inv.Partial = append(inv.Partial, inventory.Gap{What: inventory.AreaPackages, Why: "the bill names a system and none of its packages"})
	case g.others == 0:
		inv.Partial = append(inv.Partial, inventory.Gap{What: inventory.AreaPackages, Why: "the bill names nothing that could be matched"})
	}
}

func bools(b bool) int {
	if b {
		return 1
	}
	return 0
}
