package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// Answer is what is known of a yes-or-no question, and who says so. The zero
// value is unknown; rules take the stricter branch for it.
type Answer struct {
	Is     string `json:"is"`     // "yes", "no", or "" for unknown
	Source string `json:"source"` // "trust root", a feed's name, … or ""
}

// The closed set of answers.
const (
	Yes     = "yes"
	No      = "no"
	Unknown = ""
)

// Stated is a value of a closed set (HostFacts says which), and who says so. An
// unknown value with a source is one that the source ought to know.
type Stated struct {
	Is     string `json:"is"` // "" for unknown
	Source string `json:"source"`
}

// The closed sets of Stated, mild to strict where they have an order.
var (
	Levels    = []string{"L4", "L3", "L2", "L1", "L0"}           // autonomy
	Deadlines = []string{"FSU", "60D", "14D", "3D", "3DF"}       // outcomes of BOD 26-04
	Triages   = []string{"none", "done", "needed"}               // forensic hold before a change
	Tags      = []string{"none", "pci", "gdpr", "hipaa", "else"} // data on a host; "else" is a tag nobody knows
)

// FromTrust is the source of what the trust root's labels say.
const FromTrust = "trust root"

// Facts is what rules may know beside plan, dossier and labels. Whoever asks
// the rules fills in what it knows; NewInput adds what follows from the trust
// root's labels and the dossier. The zero value knows nothing.
type Facts struct {
	Hosts     []HostFacts     `json:"hosts"`     // of the branches, in their order
	Artefacts []ArtefactFacts `json:"artefacts"` // of the dossier, in its order
}

// HostFacts is what is known of one host of the plan, over all that the plan
// settles there: of several vulnerabilities the strictest answer.
type HostFacts struct {
	ID          trust.HostID `json:"id"`
	Group       string       `json:"group"`       // label group=…, or ""
	Level       Stated       `json:"level"`       // Levels; label autonomy=L0…L4
	Data        []string     `json:"data"`        // Tags, ascending; label data=gdpr+hipaa; none: unknown
	Exposed     Answer       `json:"exposed"`     // reached from a public network; label exposure=internet|internal
	KEV         Answer       `json:"kev"`         // CISA lists one of them
	Automatable Answer       `json:"automatable"` // SSVC
	Total       Answer       `json:"total"`       // SSVC: technical impact is total
	MustPatch   Answer       `json:"must_patch"`
	Reboot      Answer       `json:"reboot"`   // the change needs one to be effective
	Deadline    Stated       `json:"deadline"` // Deadlines, the strictest; from room priority
	Due         int64        `json:"due"`      // Unix seconds of the earliest deadline, 0: none or unknown
	Deferred    int64        `json:"deferred"` // how often this work was put off
	Triage      Stated       `json:"triage"`   // Triages
	Windowed    Answer       `json:"windowed"` // "yes": changes only within windows
	Windows     []Span       `json:"windows"`  // the one that is open, and the next, ascending
}

// Span is a stretch of time, Unix seconds; Until is no part of it.
type Span struct {
	From  int64 `json:"from"`
	Until int64 `json:"until"`
}

// ArtefactFacts is what is known of one new artefact. The triggers after
// Corroborated make a change "non-standard"; they follow from the dossier.
type ArtefactFacts struct {
	Package      string `json:"package"`
	Arch         string `json:"arch"`
	To           string `json:"to"`
	Since        int64  `json:"since"`        // Unix seconds since it is seen in the origin's signed index, 0: unknown
	Cooldown     int64  `json:"cooldown"`     // Unix seconds at which its wait ends (room priority), 0: unknown
	Corroborated Answer `json:"corroborated"` // independent parties say that it is urgent
	NewPublisher Answer `json:"new_publisher"`
	NewScript    Answer `json:"new_script"`
	Downgrade    Answer `json:"downgrade"`
	NewVendor    Answer `json:"new_vendor"`
	NewOrigin    Answer `json:"new_origin"`
	Major        Answer `json:"major"`
	Core         Answer `json:"core"` // kernel, boot, libc, ssh, sudo, pam and the rest of the critical list
}

// with joins f with what the trust root and the dossier say. Where both speak
// the stricter stays; doing it twice changes nothing, so that an auditor who
// only has the joined facts gets them again.
func (f Facts) with(root trust.Root, branches []plan.Branch, d proposal.Dossier, at int64) Facts {
	out := Facts{Hosts: []HostFacts{}, Artefacts: []ArtefactFacts{}}
	for _, b := range branches {
		h := HostFacts{ID: b.Host}
		if i := slices.IndexFunc(f.Hosts, func(h HostFacts) bool { return h.ID == b.Host }); i >= 0 {
			h = f.Hosts[i]
		}
		known, _ := root.Host(b.Host)
		out.Hosts = append(out.Hosts, h.labelled(known.Labels, at))
	}
	ops := operations(branches)
	for _, a := range d.Artefacts {
		x := ArtefactFacts{Package: a.Package, Arch: a.Arch, To: a.To}
		if i := slices.IndexFunc(f.Artefacts, func(o ArtefactFacts) bool {
			return o.Package == a.Package && o.Arch == a.Arch && o.To == a.To
		}); i >= 0 {
			x = f.Artefacts[i]
		}
		out.Artefacts = append(out.Artefacts, x.judged(a, ops[a.Package+"\x00"+a.To]))
	}
	return out
}

func operations(branches []plan.Branch) map[string]change.Op {
	out := map[string]change.Op{}
	for _, b := range branches {
		for _, c := range b.Changes {
			if key := c.Package + "\x00" + c.To; out[key] != change.Downgrade {
				out[key] = c.Op
			}
		}
	}
	return out
}

// untold takes away what only the keepers' labels can say, or what would be
// milder than they do: whoever tells the facts cannot stand for the keepers.
func (h HostFacts) untold() HostFacts {
	h.Data, h.Group, h.Windowed, h.Windows = append([]string{}, h.Data...), "", Answer{}, []Span{}
	if h.Exposed.Is == No {
		h.Exposed = Answer{}
	}
	if h.Level.Is == "L3" || h.Level.Is == "L4" {
		h.Level = Stated{}
	}
	return h
}

// labelled adds what labels say. A label with a value of no known set counts as
// the strictest of its set.
func (h HostFacts) labelled(labels []trust.Label, at int64) HostFacts {
	h = h.untold()
	for _, l := range labels {
		switch l.Key {
		case "group":
			h.Group = l.Value
		case "autonomy":
			h.Level = stricter(Levels, h.Level, Stated{l.Value, FromTrust})
		case "exposure":
			is := Yes
			if l.Value == "internal" {
				is = No
			}
			h.Exposed = either(h.Exposed, Answer{is, FromTrust})
		case "data":
			h.Data = append(h.Data, tags(l.Value)...)
		case "window":
			h.Windowed, h.Windows = Answer{Yes, FromTrust}, append(h.Windows, windows(l.Value, at)...)
		}
	}
	slices.Sort(h.Data)
	h.Data = slices.Compact(h.Data)
	slices.SortFunc(h.Windows, func(a, b Span) int { return int(a.From - b.From) })
	h.Windows = slices.Compact(h.Windows)
	return h
}

// tags reads gdpr+hipaa.
func tags(value string) []string {
	out := []string{}
	for _, t := range strings.Split(strings.ToLower(value), "+") {
		if !slices.Contains(Tags, t) {
			t = "else"
		}
		out = append(out, t)
	}
	return out
}

// stricter keeps the later of two values in a set; what is outside it counts as
// the last, and unknown gives way.
func stricter(set []string, a, b Stated) Stated {
	if b.Is != "" && !slices.Contains(set, b.Is) {
		b.Is = set[len(set)-1]
	}
	if a.Is == "" || b.Is != "" && slices.Index(set, b.Is) > slices.Index(set, a.Is) {
		return b
	}
	return a
}

// either is yes when one says so, and unknown only when nobody speaks.
func either(a, b Answer) Answer {
	if a.Is == Unknown || a.Is == No && b.Is == Yes {
		return b
	}
	return a
}

// windows reads HHMM-HHMM or mon-HHMM-HHMM (UTC; an end before the beginning
// is on the next day) and gives those that are open at the time or begin within
// eight days. A value that cannot be read gives none: the host has no window.
func windows(value string, at int64) []Span {
	parts := strings.Split(strings.ToLower(value), "-")
	day := ""
	if len(parts) == 3 {
		day, parts = parts[0], parts[1:]
	}
	if len(parts) != 2 {
		return nil
	}
	from, ok1 := clock(parts[0])
	until, ok2 := clock(parts[1])
	if !ok1 || !ok2 {
		return nil
	}
	if until <= from {
		until += 24 * 3600
	}
	out := []Span{}
	for n := int64(-1); n <= 8 && len(out) < 2; n++ {
		start := at - at%(24*3600) + n*24*3600
		name := strings.ToLower(time.Unix(start, 0).UTC().Weekday().String()[:3])
		if s := (Span{start + from, start + until}); start >= 0 && s.Until > at && (day == "" || day == name) {
			out = append(out, s)
		}
	}
	return out
}

func clock(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || len(s) != 4 || n/100 > 23 || n%100 > 59 {
		return 0, false
	}
	return int64(n/100*3600 + n%100*60), true
}

// judged adds what the dossier shows: requirements row 51's triggers. Nothing
// is compared where nothing was replaced; a first installation is new in every
// respect that a comparison would show.
func (x ArtefactFacts) judged(a proposal.Fact, op change.Op) ArtefactFacts {
	first := len(a.Back.Signers) == 0
	say := func(has bool) Answer {
		if has {
			return Answer{Yes, "dossier"}
		}
		return Answer{No, "dossier"}
	}
	from, to := channel(a.Back.Origin), channel(a.Chain.Origin)
	sibling := from == to && a.Back.Origin != a.Chain.Origin // signed by another key of the same publisher
	x.NewPublisher = say(first || len(a.Chain.Signers) == 0 || !sibling && !slices.ContainsFunc(a.Chain.Signers, func(s string) bool { return slices.Contains(a.Back.Signers, s) }))
	x.NewScript = say(a.Diff.NewScript)
	x.Downgrade = say(op == change.Downgrade)
	x.NewOrigin = say(first || from != to)
	x.NewVendor = say(vendor(string(a.Chain.Origin)) != vendor(string(a.Back.Origin)))
	x.Major = say(major(a.From) != major(a.To))
	x.Core = say(a.Class == change.Critical)
	return x
}

// channel is an origin without the suffix of its update channels: what is
// installed from debian is updated from debian-security, and that is nothing new.
// Both are origins that the keepers name, each with its keys.
func channel(o change.Origin) string {
	name, _ := strings.CutSuffix(string(o), "-security")
	name, _ = strings.CutSuffix(name, "-updates")
	return name
}

// vendor is the first word of an origin's name: debian of debian-security.
func vendor(origin string) string {
	v, _, _ := strings.Cut(origin, "-")
	return v
}

// major is a version's first run of digits behind the epoch, with the epoch.
func major(v string) string {
	epoch, rest, found := strings.Cut(v, ":")
	if !found {
		epoch, rest = "", v
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	return epoch + ":" + rest[:end]
}
