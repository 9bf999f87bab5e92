package advicetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/advice"
)

// Classes are the kinds of error that are made of true claims.
var Classes = []string{"wrong-severity", "no-such-cve", "off-by-one-version", "wrong-package-or-distribution", "wrong-order", "stale-kev", "forged-quote", "foreign-evidence", "number-in-prose"}

// Case is one answer with one error in it.
type Case struct {
	Class   string
	What    string // the error, in words
	Dossier advice.Dossier
	Answer  advice.Answer
	At      int64
}

// Judge judges a case as everything that comes back is judged: from its bytes.
func (c Case) Judge() (advice.Report, error) {
	c.Answer.Dossier = c.Dossier.Digest()
	if c.Answer.Proposal.Action == "" {
		c.Answer.Proposal.Action = advice.Keep
	}
	a, err := advice.ParseAnswer(Write(c.Answer))
	return advice.Verify(c.Dossier, a, c.At, advice.Days14), err
}

// Missed reports whether the error passed.
func (c Case) Missed(r advice.Report) bool {
	switch {
	case c.Class == "number-in-prose":
		return len(r.Kept()) > 0
	case len(c.Answer.Proposal.Order) > 0:
		return r.Proposal.Stands
	}
	return r.Claims[0].Verdict == advice.Verified
}

// truth is a true claim and where it stands.
type truth struct {
	d    advice.Dossier
	e    advice.Evidence
	f    advice.Fact
	c    advice.Claim
	at   int64
	fact int
}

// Mutator makes cases of true claims about dossiers, all by one seed.
type Mutator struct {
	r    *rand.Rand
	of   map[advice.Kind][]truth
	all  []truth
	with []int // dossiers that have edges
	list []advice.Dossier
	at   int64
}

// NewMutator takes the true claims of dossiers that hold at a time, and says how
// many there are, and which of them were rejected though nothing of their dossier
// says otherwise.
func NewMutator(seed uint64, at int64, list []advice.Dossier) (m *Mutator, truths int, rejected []string) {
	m = &Mutator{r: rand.New(rand.NewPCG(seed, 1)), of: map[advice.Kind][]truth{}, list: list, at: at}
	for n, d := range list {
		if len(d.Edges) > 0 {
			m.with = append(m.with, n)
		}
		for _, e := range d.Evidence {
			for i, f := range e.Facts {
				t := truth{d: d, e: e, f: f, c: True(e, i), at: at, fact: i}
				truths++
				r, err := Case{Dossier: d, Answer: advice.Answer{Claims: []advice.Claim{t.c}}, At: at}.Judge()
				if err != nil || r.Claims[0].Verdict != advice.Verified {
					rejected = append(rejected, fmt.Sprintf("%s: %+v %v", f, r.Claims, err))
					continue
				}
				m.of[f.Kind], m.all = append(m.of[f.Kind], t), append(m.all, t)
			}
		}
	}
	return m, truths, rejected
}

// Make makes a case of a class. False: the true claims at hand give none.
func (m *Mutator) Make(class string) (Case, bool) {
	for range 200 {
		var t truth
		var what string
		switch class {
		case "wrong-severity":
			t, what = m.severity()
		case "no-such-cve":
			t, what = m.cve()
		case "off-by-one-version":
			t, what = m.version()
		case "wrong-package-or-distribution":
			t, what = m.pkg()
		case "stale-kev":
			t, what = m.kev()
		case "forged-quote":
			t, what = m.quote()
		case "foreign-evidence":
			t, what = m.foreign()
		case "wrong-order":
			if c, ok := m.order(); ok {
				return c, true
			}
		case "number-in-prose":
			if c, ok := m.prose(); ok {
				return c, true
			}
		}
		if what != "" {
			return Case{Class: class, What: t.f.String() + " -> " + what, Dossier: t.d, Answer: advice.Answer{Claims: []advice.Claim{t.c}}, At: t.at}, true
		}
	}
	return Case{}, false
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// any takes a true claim of one of some kinds, or of any.
func (m *Mutator) any(kinds ...advice.Kind) (truth, bool) {
	list := m.all
	if len(kinds) > 0 {
		list = m.of[pick(m.r, kinds)]
	}
	if len(list) == 0 {
		return truth{}, false
	}
	t := pick(m.r, list)
	t.c.Quotes, t.c.Evidence = slices.Clone(t.c.Quotes), slices.Clone(t.c.Evidence)
	return t, true
}

// said reports whether the dossier has the claim's words as a fact.
func said(t truth) bool {
	for _, e := range t.d.Evidence {
		for _, f := range e.Facts {
			if string(f.Kind) == t.c.Kind && f.About == t.c.About && f.Package == t.c.Package && f.Version == t.c.Version && f.Value == t.c.Value && f.Source == t.c.Source {
				return true
			}
		}
	}
	return false
}

// severity gives another score, another vector, or another's word.
func (m *Mutator) severity() (truth, string) {
	t, ok := m.any(advice.Severity)
	if !ok {
		return t, ""
	}
	switch score, err := strconv.ParseFloat(t.c.Value, 64); {
	case err == nil:
		t.c.Value = fmt.Sprintf("%.1f", min(10, max(0, score+pick(m.r, []float64{-0.1, 0.1, -2, 2, -5, 5}))))
	case strings.HasPrefix(t.c.Value, "CVSS:3"):
		parts := strings.Split(t.c.Value, "/")
		i := 1 + m.r.IntN(8)
		name, _, _ := strings.Cut(parts[min(i, len(parts)-1)], ":")
		values := map[string]string{"AV": "NALP", "AC": "LH", "PR": "NLH", "UI": "NR", "S": "UC", "C": "HLN", "I": "HLN", "A": "HLN"}[name]
		if values == "" {
			return t, ""
		}
		parts[i] = name + ":" + string(values[m.r.IntN(len(values))])
		t.c.Value = strings.Join(parts, "/")
	default:
		t.c.Value = pick(m.r, []string{"low", "medium", "high", "critical", "9.8"})
	}
	own, scored := advice.Base(t.f.Value)
	if said(t) || scored && t.c.Value == fmt.Sprintf("%d.%d", own/10, own%10) {
		return t, ""
	}
	for _, e := range t.d.Evidence {
		for _, f := range e.Facts { // the same source's other score
			if own, ok := advice.Base(f.Value); ok && f.About == t.c.About && f.Source == t.c.Source && t.c.Value == fmt.Sprintf("%d.%d", own/10, own%10) {
				return t, ""
			}
		}
	}
	return t, t.c.Value
}

// cve gives an id that the dossier has not: beside a real one, as machines make
// them up.
func (m *Mutator) cve() (truth, string) {
	t, ok := m.any(advice.CVEExists, advice.KEVMember, advice.EPSSScore, advice.FixedVersion, advice.Severity)
	year, number, is := strings.Cut(strings.TrimPrefix(t.c.About, "CVE-"), "-")
	n, err := strconv.Atoi(number)
	if !ok || !is || err != nil {
		return t, ""
	}
	t.c.About = fmt.Sprintf("CVE-%s-%04d", year, max(0, n+pick(m.r, []int{1, -1, 2, 10, -10, 100000})))
	for _, e := range t.d.Evidence {
		if slices.ContainsFunc(e.Facts, func(f advice.Fact) bool { return f.About == t.c.About }) {
			return t, ""
		}
	}
	return t, t.c.About
}

// version changes one number, or an ending, of a fixed version or of a bound.
func (m *Mutator) version() (truth, string) {
	t, ok := m.any(advice.FixedVersion, advice.AffectedRange)
	if !ok {
		return t, ""
	}
	switch m.r.IntN(4) {
	case 0: // what is true of something else
		other, _ := m.any(t.f.Kind)
		t.c.Value = other.c.Value
	case 1:
		t.c.Value += pick(m.r, []string{"+b1", "~rc1", "ubuntu1", ".1"})
	default:
		var places [][2]int
		for i := 0; i < len(t.c.Value); i++ {
			j := i
			for j < len(t.c.Value) && t.c.Value[j] >= '0' && t.c.Value[j] <= '9' {
				j++
			}
			if j > i {
				places, i = append(places, [2]int{i, j}), j
			}
		}
		p := pick(m.r, places)
		n, err := strconv.Atoi(t.c.Value[p[0]:p[1]])
		if n += pick(m.r, []int{-1, 1}); err != nil || n < 0 {
			return t, ""
		}
		t.c.Value = t.c.Value[:p[0]] + strconv.Itoa(n) + t.c.Value[p[1]:]
	}
	if said(t) {
		return t, ""
	}
	return t, t.c.Value
}

// pkg names another package, or another release of the same.
func (m *Mutator) pkg() (truth, string) {
	t, ok := m.any(advice.FixedVersion, advice.AffectedRange, advice.PackageAffected, advice.PatchArtifact, advice.Supersedes)
	if !ok {
		return t, ""
	}
	other, ok := m.any(advice.FixedVersion, advice.AffectedRange, advice.PatchArtifact)
	if !ok {
		return t, ""
	}
	was := t.c.Package
	if t.c.Package = other.c.Package; m.r.IntN(2) == 0 {
		t.c.Package = strings.NewReplacer("-12", "-13", "debian", "ubuntu", "almalinux-8", "almalinux-9", "almalinux-9", "almalinux-8", "almalinux-10", "almalinux-9", ":amd64", ":arm64").Replace(was)
	}
	if t.c.Package == was || said(t) {
		return t, ""
	}
	for _, e := range t.d.Evidence { // a range of the other package may hold the version; or it is fixed in the same
		if slices.ContainsFunc(e.Facts, func(f advice.Fact) bool {
			return f.About == t.c.About && f.Package == t.c.Package && (f.Value == t.c.Value || t.f.Kind == advice.PackageAffected)
		}) {
			return t, ""
		}
	}
	return t, t.c.Package
}

// order turns a dependency round: as a claim, or in an order of the class.
func (m *Mutator) order() (Case, bool) {
	if len(m.with) == 0 {
		return Case{}, false
	}
	d := m.list[pick(m.r, m.with)]
	e := pick(m.r, d.Edges)
	c := Case{Class: "wrong-order", What: e.After + " before " + e.Before, Dossier: d, At: m.at}
	if m.r.IntN(2) == 0 {
		for _, t := range m.of[advice.DependsBefore] {
			if t.c.Package == e.Before && t.c.Value == e.After && t.d.Plan == d.Plan {
				t.c.Package, t.c.Value = e.After, e.Before
				c.Answer.Claims = []advice.Claim{t.c}
				return c, !slices.Contains(d.Edges, advice.Edge{Before: e.After, After: e.Before})
			}
		}
	}
	order, class := []string{}, map[string]string{}
	for _, i := range d.Items {
		class[i.Key] = string(i.Class)
	}
	for _, i := range d.Items {
		if class[i.Key] == class[e.After] {
			order = append(order, i.Key)
		}
	}
	m.r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	before, after := slices.Index(order, e.Before), slices.Index(order, e.After)
	if before < 0 || after < 0 {
		return c, false
	}
	if before < after {
		order[before], order[after] = order[after], order[before]
	}
	c.Answer.Proposal.Order = order
	return c, true
}

// kev says otherwise, as of another day, or too late.
func (m *Mutator) kev() (truth, string) {
	t, ok := m.any(advice.KEVMember)
	if !ok {
		return t, ""
	}
	switch m.r.IntN(3) {
	case 0:
		t.c.Value = map[string]string{"yes": "no", "no": "yes"}[t.c.Value]
		return t, t.c.Value
	case 1:
		t.c.AsOf += int64(pick(m.r, []int{-86400, 86400, -30 * 86400, 1, -1}))
		return t, fmt.Sprint("as of ", t.c.AsOf)
	}
	t.at = t.e.AsOf + advice.Days14.KEV + 1 + int64(m.r.IntN(400*86400))
	return t, fmt.Sprint("judged at ", t.at)
}

// quote moves the span of a true claim.
func (m *Mutator) quote() (truth, string) {
	t, ok := m.any()
	if !ok {
		return t, ""
	}
	q, end := &t.c.Quotes[0], int64(len(t.e.Text))
	length := q.To - q.From
	switch m.r.IntN(4) {
	case 0:
		q.From = q.To - 1 - m.r.Int64N(length-1)
	case 1:
		q.To = q.From + 1 + m.r.Int64N(length-1)
	case 2:
		q.From, q.To = end+m.r.Int64N(1000), end+1000+m.r.Int64N(1000)
	default:
		if len(t.e.Facts) < 2 || t.f.Kind == advice.Severity {
			return t, ""
		}
		*q = True(t.e, (t.fact+1)%len(t.e.Facts)).Quotes[0]
	}
	return t, fmt.Sprintf("bytes %d to %d", q.From, q.To)
}

// foreign cites a piece that is not there, or that does not say so.
func (m *Mutator) foreign() (truth, string) {
	t, ok := m.any()
	if !ok {
		return t, ""
	}
	id := fmt.Sprintf("e%d", len(t.d.Evidence)+1+m.r.IntN(100))
	if m.r.IntN(2) == 0 {
		other := pick(m.r, t.d.Evidence)
		for _, f := range other.Facts {
			if f.Kind == t.f.Kind && f.About == t.f.About && f.Source == t.f.Source || f.Kind == advice.AffectedRange && t.f.Kind == advice.PackageAffected {
				return t, ""
			}
		}
		id = other.ID
	}
	t.c.Evidence[0], t.c.Quotes[0].Evidence = id, id
	return t, id
}

// prose says a true value, or a made-up one, outside a reference.
func (m *Mutator) prose() (Case, bool) {
	t, ok := m.any()
	if !ok {
		return Case{}, false
	}
	word := pick(m.r, []string{t.c.Value, t.c.About, t.c.Version, fmt.Sprint(m.r.IntN(100000)), fmt.Sprintf("%d.%d", m.r.IntN(20), m.r.IntN(50)), "twelve", "thousands", "Twenty-two", "v2", "CVE", "ghsa"})
	if number := strings.ContainsAny(word, "0123456789") || slices.Contains([]string{"twelve", "thousands", "Twenty-two", "CVE", "ghsa"}, word); !number {
		return Case{}, false
	}
	text := fmt.Sprintf(pick(m.r, []string{"It is %s.", "Upgrade to %s at once", "See {{c1}} and %s.", "Do it (%s)?", "About %s hosts, {{c1}}!"}), word)
	return Case{Class: "number-in-prose", What: text, Dossier: t.d, Answer: advice.Answer{Claims: []advice.Claim{t.c}, Narrative: text}, At: m.at}, true
}
