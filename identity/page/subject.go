package page

import (
	"errors"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/trust"
)

// What a browser is given to show at most; a larger plan is read on the command
// line. Hosts to which the same happens are shown together.
const (
	maxBranches = 20_000
	maxRows     = 5_000 // about 4 MB of HTML
)

// ErrLarge says that a plan is too large for a page.
var ErrLarge = errors.New("the plan is too large for a page; read it with patchwrit plan show and sign with an SSH key")

// Subject is what a page shows and a person answers. OfPlan, OfGrant and OfHalt
// make one out of checked bytes; the zero Subject cannot be answered.
type Subject struct {
	bytes []byte
	kinds []approval.Kind
	view  func(now time.Time) any
}

// OfPlan opens the plan: header, every branch, and the tree rebuilt from them.
// Domains, labels and quorums shown come from root.
func OfPlan(root trust.Root, h plan.Header, branches []plan.Branch) (Subject, error) {
	if len(branches) > maxBranches {
		return Subject{}, fmt.Errorf("%w (%d hosts, a page shows %d)", ErrLarge, len(branches), maxBranches)
	}
	if err := whole.Open(h, branches); err != nil {
		return Subject{}, err
	}
	if _, err := canon.Encode(h); err != nil {
		return Subject{}, err
	}
	v, rows := newPlanView(root, h, branches)
	if rows > maxRows {
		return Subject{}, fmt.Errorf("%w (%d different changes, a page shows %d)", ErrLarge, rows, maxRows)
	}
	return Subject{h.Bytes(), []approval.Kind{approval.Approve, approval.Deny}, func(now time.Time) any { v.Now = now.Unix(); return v }}, nil
}

// OfGrant shows a grant, to be signed or revoked.
func OfGrant(root trust.Root, g approval.Grant) (Subject, error) {
	if err := g.Valid(); err != nil {
		return Subject{}, err
	}
	v := grantView{Grant: g, Digest: g.Statement(approval.Allow).Digest(), Scope: scopeLines(g.Scope), Note: visible(g.Note.Text()), Bytes: string(g.Bytes())}
	v.Hosts = covered(root, g.Scope)
	v.Quorum = quorumLines(root, "grant")
	return Subject{g.Bytes(), []approval.Kind{approval.Allow, approval.Revoke}, func(now time.Time) any { v.Now = now.Unix(); return v }}, nil
}

// OfHalt shows a halt, to be signed or lifted.
func OfHalt(root trust.Root, h approval.Halt) (Subject, error) {
	if err := h.Valid(); err != nil {
		return Subject{}, err
	}
	v := haltView{Halt: h, Digest: h.Statement(approval.Stop).Digest(), Scope: scopeLines(h.Scope), Note: visible(h.Note.Text()), Bytes: string(h.Bytes())}
	v.Hosts = covered(root, h.Scope)
	return Subject{h.Bytes(), []approval.Kind{approval.Stop, approval.Lift}, func(now time.Time) any { v.Now = now.Unix(); return v }}, nil
}

// What the templates are given.
type (
	answerView struct {
		session
		Subject    any // planView, grantView or haltView
		Explain    []Note
		Person     string
		Credential canon.Digest
		Handle     string
		Offers     []offer
	}
	registerView struct {
		session
		Person, User, Challenge string
	}
	planView struct {
		Now      int64
		Header   plan.Header
		Digest   canon.Digest
		Note     string
		Bytes    string
		Quorum   []string
		Warnings []string
		Changes  int // over all hosts
		Download int64
		Solo     bool
		Waves    []waveView
	}
	waveView struct {
		plan.Wave
		Number int
		Groups []group
	}
	// group is hosts of one wave to which exactly the same happens.
	group struct {
		Hosts   []trust.Host // as the trust root knows them; only the id when it does not
		Changes []changeView
		Network bool
	}
	changeView struct {
		change.Change
		Back change.Change
	}
	grantView struct {
		approval.Grant
		Now    int64
		Digest canon.Digest
		Scope  []string
		Hosts  []trust.Host
		Quorum []string
		Note   string
		Bytes  string
	}
	haltView struct {
		approval.Halt
		Now    int64
		Digest canon.Digest
		Scope  []string
		Hosts  []trust.Host
		Note   string
		Bytes  string
	}
)

// Kind lets the answer page choose the template for its subject.
func (planView) Kind() string  { return "plan" }
func (grantView) Kind() string { return "grant" }
func (haltView) Kind() string  { return "halt" }

// newPlanView sorts the branches into waves and groups, and counts the rows to show.
func newPlanView(root trust.Root, h plan.Header, branches []plan.Branch) (v planView, rows int) {
	v = planView{Header: h, Digest: h.Digest(), Note: visible(h.Note.Text()), Bytes: string(h.Bytes()), Solo: root.Solo}
	v.Quorum = quorumLines(root, string(h.Class))
	for i, w := range h.Waves {
		v.Waves = append(v.Waves, waveView{Wave: w, Number: i + 1})
	}
	found := map[string][2]int{} // wave and group of each distinct branch
	for _, b := range branches {
		v.Changes += len(b.Changes)
		same := b
		same.Host = ""
		key := string(same.Bytes())
		at, known := found[key]
		if !known {
			at = [2]int{b.Wave, len(v.Waves[b.Wave].Groups)}
			found[key] = at
			v.Waves[b.Wave].Groups = append(v.Waves[b.Wave].Groups, groupOf(b))
			rows += len(b.Changes)
		}
		g := &v.Waves[at[0]].Groups[at[1]]
		g.Hosts = append(g.Hosts, hostOf(root, b.Host))
	}
	v.warn(root, branches)
	return v, rows
}

func groupOf(b plan.Branch) group {
	g := group{Network: b.Network}
	for i, c := range b.Changes {
		g.Changes = append(g.Changes, changeView{c, b.Rollback[i]})
	}
	return g
}

func hostOf(root trust.Root, id trust.HostID) trust.Host {
	if h, known := root.Host(id); known {
		return h
	}
	return trust.Host{ID: id}
}

// warn lists what a person must not overlook, computed from the branches alone.
func (v *planView) warn(root trust.Root, branches []plan.Branch) {
	count, names, unknown, files := map[string]int{}, map[string]map[string]bool{}, 0, map[canon.Digest]int64{}
	for _, b := range branches {
		if b.Network {
			count["network"]++
		}
		if _, known := root.Host(b.Host); !known {
			unknown++
		}
		for _, c := range b.Changes {
			for _, what := range []string{string(c.Op), string(c.Class)} {
				if names[what] == nil {
					names[what] = map[string]bool{}
				}
				count[what]++
				names[what][c.Package] = true
			}
			files[c.Artefact] = c.Size
		}
	}
	for _, size := range files {
		v.Download += size
	}
	for _, line := range []struct {
		what, one, many string
		n               int
	}{
		{string(change.Critical), "critical change", "critical changes", 0},
		{string(change.Sensitive), "sensitive change", "sensitive changes", 0},
		{string(change.Downgrade), "downgrade, which may re-open what was fixed", "downgrades, which may re-open what was fixed", 0},
		{string(change.Remove), "removal", "removals", 0},
		{string(change.Install), "package that was not there before", "packages that were not there before", 0},
		{"network", "host on which installation scripts may use the network", "hosts on which installation scripts may use the network", 0},
		{"", "host that the trust root does not know", "hosts that the trust root does not know", unknown},
	} {
		if n := count[line.what] + line.n; n > 0 {
			v.Warnings = append(v.Warnings, plural(n, line.one, line.many)+listed(names[line.what]))
		}
	}
	if count[string(change.Downgrade)] > 0 {
		v.Quorum = append(v.Quorum, quorumLines(root, approval.Rollback)...)
	}
	if root.Solo {
		v.Warnings = append(v.Warnings, "This house is in solo mode: one person alone decides")
	}
}

// listed names a few of the packages: ": curl, libssl3 and 3 more".
func listed(names map[string]bool) string {
	const few = 8
	all := slices.Sorted(maps.Keys(names))
	switch {
	case len(all) == 0:
		return ""
	case len(all) > few:
		return ": " + strings.Join(all[:few], ", ") + " and " + strconv.Itoa(len(all)-few) + " more"
	}
	return ": " + strings.Join(all, ", ")
}

// quorumLines says in words what the trust root asks for.
func quorumLines(root trust.Root, name string) []string {
	q, known := root.Quorum(name)
	if !known {
		return []string{name + ": the trust root has no such quorum, so nobody can permit this"}
	}
	text := name + ": " + plural(q.People, "person", "different people")
	for i, need := range q.Roles {
		text += []string{", among them ", " and "}[min(i, 1)] + strconv.Itoa(need.People) + " " + need.Role
	}
	return []string{text}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func scopeLines(s trust.Scope) []string {
	lines := []string{}
	if s.All {
		lines = append(lines, "all hosts")
	}
	for _, h := range s.Hosts {
		lines = append(lines, "host "+string(h))
	}
	for _, d := range s.Domains {
		lines = append(lines, "fault domain "+d)
	}
	for _, l := range s.Labels {
		lines = append(lines, "label "+l.Key+" = "+l.Value)
	}
	return lines
}

func covered(root trust.Root, s trust.Scope) []trust.Host {
	return slices.DeleteFunc(slices.Clone(root.Hosts), func(h trust.Host) bool { return !s.Covers(h) })
}

// visible shows every character that has no shape of its own (controls, bidi
// overrides, zero widths) as its escape, so that a text cannot pose as another.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// functions are the templates' words.
var functions = template.FuncMap{
	"utc":    func(t int64) string { return time.Unix(t, 0).UTC().Format("2006-01-02 15:04:05 UTC") },
	"iso":    func(t int64) string { return time.Unix(t, 0).UTC().Format(time.RFC3339) },
	"from":   from,
	"bytes":  size,
	"span":   func(seconds int64) string { return span(time.Duration(seconds) * time.Second) },
	"plain":  visible,
	"many":   plural,
	"moment": func(now, t int64) moment { return moment{now, t} },
}

// moment is a time to show and the time it is seen from, in Unix seconds.
type moment struct{ Now, T int64 }

// from says where t lies as seen from now: "in 3 h", "2 d ago".
func from(now, t int64) string {
	switch d := time.Duration(t-now) * time.Second; {
	case d >= time.Minute:
		return "in " + span(d)
	case d <= -time.Minute:
		return span(-d) + " ago"
	}
	return "now"
}

func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d.Hours()/24)) + " d"
	case d >= 2*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	case d >= time.Minute:
		return strconv.Itoa(int(d.Minutes())) + " min"
	}
	return strconv.Itoa(int(d.Seconds())) + " s"
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return strconv.FormatInt(n, 10) + " B"
}

// shown makes an explanation's invisible characters visible.
func shown(notes []Note) []Note {
	all := make([]Note, len(notes))
	for i, n := range notes {
		all[i].Heading = visible(n.Heading)
		for _, line := range n.Lines {
			all[i].Lines = append(all[i].Lines, visible(line))
		}
	}
	return all
}
