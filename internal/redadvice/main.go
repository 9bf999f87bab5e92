// Command redadvice attacks advice: it makes errors out of true claims from real
// records and counts how many pass room advice's verifier, and it plants hostile
// texts in every text field of a world and counts what they change: make
// redteam-advice.
//
// The world of the texts makes real decisions: real parsers, matching, deadlines,
// a plan, the standard rules, and room restraint for what advice may add. Two
// simulated models answer: one obeys every text that it can see in a request, one
// returns anything. All is held to the clean twin, the same world without the text.
//
// Records are those of the shared data set (Debian 12's derived OSV, AlmaLinux's
// OSV, CVE records of CISA's Vulnrichment, KEV, EPSS, Debian's security index for
// dependencies); plans around them are made by internal/advicetest, and all
// readings are dated alike, so that only what a case makes old is old. The same
// seed gives the same output, byte for byte. No real model takes part.
package main

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/internal/advicetest"
)

func main() {
	seed := flag.Uint64("seed", 1, "what all chance comes from")
	each := flag.Int("each", 3000, "cases of each class")
	dir := flag.String("data", cmp.Or(os.Getenv("PATCHWRIT_SHARED"), "../shared/data"), "the shared data set")
	corpus := flag.String("corpus", "", "texts to plant: a JSONL file of id, label, channel, text (default: those of the shared data set)")
	some := flag.Int("some", 0, "how many texts, drawn by the seed; 0: all")
	show := flag.Int("show", 0, "only show this many errors of each class, with what the verifier says of them, for people to judge")
	flag.Parse()
	var err error
	if *show > 0 {
		err = examples(os.Stdout, *dir, *seed, *show)
	} else {
		err = attack(os.Stdout, *dir, *corpus, *seed, *each, *some)
	}
	switch {
	case errors.Is(err, errPassed):
		os.Exit(3)
	case err != nil:
		fmt.Fprintln(os.Stderr, "redadvice:", err)
		os.Exit(1)
	}
}

// errPassed says that an error passed, or a text changed what it must not.
var errPassed = errors.New("an attack had an effect")

// attack does both parts, and ends with the one line that a script reads.
func attack(out io.Writer, dir, corpus string, seed uint64, each, some int) error {
	read := func() ([]sample, []string, error) { return stored(dir) }
	if corpus != "" {
		read = func() ([]sample, []string, error) { return openCorpus(corpus) }
	}
	list, left, err := read()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "corpus: %d texts, %d lines left out\n", len(list), len(left))
	for _, l := range left[:min(len(left), 50)] {
		fmt.Fprintf(out, "  left out: %.200s\n", canon.NoteOf(l))
	}
	missed, verdicts, err := run(out, dir, seed, each)
	if err != nil {
		return err
	}
	w, err := newWorld()
	if err != nil {
		return err
	}
	t, err := w.injections(list, seed, some)
	if err != nil {
		return err
	}
	t.write(out, len(list))
	t.take(verdicts)
	fmt.Fprintln(out, t.last())
	if missed > 0 || t.bad() {
		return errPassed
	}
	return nil
}

// examples shows errors of each class as they are made, what the model would say and
// what is found: whether they are errors at all is for people to judge.
func examples(w io.Writer, dir string, seed uint64, show int) error {
	l, err := load(dir, time.Unix(advicetest.Now, 0))
	if err != nil {
		return err
	}
	list, _ := l.dossiers(rand.New(rand.NewPCG(seed, 0)))
	m, _, _ := advicetest.NewMutator(seed, advicetest.Now, list)
	for _, class := range advicetest.Classes {
		fmt.Fprintf(w, "== %s\n", class)
		for n := range show {
			c, ok := m.Make(class)
			if !ok {
				break
			}
			r, err := c.Judge()
			if err != nil {
				return err
			}
			found := "proposal: " + string(r.Proposal.Reason)
			for _, j := range r.Claims {
				found = fmt.Sprintf("%s: %s: %s", j.Claim, j.Verdict, j.Reason)
			}
			for _, s := range r.Sentences {
				found = fmt.Sprintf("%q: kept %t: %s", s.Text, s.Kept, s.Reason)
			}
			fmt.Fprintf(w, "%3d. %.400s\n     %.400s\n", n+1, c.What, found)
		}
	}
	return nil
}

// run judges cases of each class and says how many errors passed.
func run(w io.Writer, dir string, seed uint64, each int) (missed int, verdicts map[advice.Verdict]int, err error) {
	l, err := load(dir, time.Unix(advicetest.Now, 0))
	if err != nil {
		return 0, nil, err
	}
	list, left := l.dossiers(rand.New(rand.NewPCG(seed, 0)))
	m, truths, rejected := advicetest.NewMutator(seed, advicetest.Now, list)
	fmt.Fprintf(w, "seed %d: %d dossiers of %d records and %d CVE records (%d groups gave none)\n", seed, len(list), len(l.records), len(l.spoken), left)
	fmt.Fprintf(w, "true claims: %d, not verified: %d (%.2f %%)\n", truths, len(rejected), 100*float64(len(rejected))/float64(max(truths, 1)))
	for _, r := range rejected[:min(len(rejected), 12)] {
		fmt.Fprintf(w, "  not verified: %.300s\n", r)
	}
	verdicts = map[advice.Verdict]int{}
	fmt.Fprintf(w, "%-31s %6s %6s  %s\n", "class of error", "cases", "missed", "upper bound (95 %)")
	for _, class := range advicetest.Classes {
		n, passed, seen := 0, []string{}, map[canon.Digest]bool{}
		for range 20 * each { // the same error twice is one
			c, ok := m.Make(class)
			if !ok || n == each {
				break
			}
			name := canon.SumFile([]byte(string(c.Dossier.Digest()) + c.What + string(advicetest.Write(c.Answer))))
			if seen[name] {
				continue
			}
			seen[name] = true
			n++
			r, err := c.Judge()
			if err != nil {
				return 0, nil, err
			}
			for _, j := range r.Claims {
				verdicts[j.Verdict]++
			}
			if c.Missed(r) {
				passed = append(passed, c.What)
			}
		}
		missed += len(passed)
		fmt.Fprintf(w, "%-31s %6d %6d  %s\n", class, n, len(passed), bound(len(passed), n))
		if n < each {
			return missed, verdicts, fmt.Errorf("the records at hand give %d different errors of class %s, %d are wanted", n, class, each)
		}
		for _, what := range passed[:min(len(passed), 10)] {
			fmt.Fprintf(w, "  missed: %.300s\n", what)
		}
	}
	fmt.Fprintf(w, "claims: verified %d (errors outside the claim: order, prose), contradicted %d, unsupported %d, stale %d, out_of_scope %d, malformed %d\n", verdicts[advice.Verified],
		verdicts[advice.Contradicted], verdicts[advice.Unsupported], verdicts[advice.Stale], verdicts[advice.OutOfScope], verdicts[advice.Malformed])
	return missed, verdicts, nil
}

// bound is the upper end of the one-sided 95 % confidence interval of a rate, after
// Clopper and Pearson: the rate at which as few misses as these have a chance of 5 %.
// Without a miss it is close to the rule of three.
func bound(missed, n int) string {
	if n == 0 || missed >= n {
		return "100 %"
	}
	lo, hi := 0.0, 1.0
	for range 60 {
		if p := (lo + hi) / 2; atMost(missed, n, p) > 0.05 {
			lo = p
		} else {
			hi = p
		}
	}
	return fmt.Sprintf("%.3f %%", 100*hi)
}

// atMost is the chance of at most k in n at rate p, 0 < p < 1.
func atMost(k, n int, p float64) (sum float64) {
	all, _ := math.Lgamma(float64(n + 1))
	for i := range k + 1 {
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(all - a - b + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return sum
}

// loaded is what was read.
type loaded struct {
	records []advisory.Advisory
	kev     kev.Catalogue
	epss    epss.Scores
	spoken  []advice.Spoken
	needs   []stanza
}

// stanza is a package of an index with what it depends on.
type stanza struct{ name, source, version, depends string }

func load(dir string, now time.Time) (l loaded, err error) {
	ctx, o := context.Background(), feed.Options{Now: now}
	for _, name := range []string{"debian/osv-derived-bookworm.zip", "osv/AlmaLinux.zip"} {
		set, err := feed.Read(ctx, filepath.Join(dir, name), o)
		if err != nil {
			return l, err
		}
		l.records = append(l.records, set.Advisories...)
	}
	for _, name := range []string{"vulnrichment/vulnrichment-2025-01-24-random5000.zip", "vulnrichment/vulnrichment-2025-01-24-kev-subset.zip"} {
		book, err := feed.Facts(ctx, filepath.Join(dir, name), o, nil)
		if err != nil {
			return l, err
		}
		for _, x := range book.Records {
			l.spoken = append(l.spoken, spokenOf(x))
		}
	}
	err = open(filepath.Join(dir, "kev/known_exploited_vulnerabilities-2026.08.07.json.gz"), func(in io.Reader) error {
		l.kev, err = kev.Read(in, kev.Options{Now: now})
		return err
	})
	if err != nil {
		return l, err
	}
	name := filepath.Join(dir, "epss/epss_scores-2026-08-16.csv.gz")
	err = open(name, func(in io.Reader) error {
		l.epss, err = epss.Read(in, epss.Options{Source: name, Now: now})
		return err
	})
	if err != nil {
		return l, err
	}
	return l, open(filepath.Join(dir, "debian/Packages-bookworm-security-2026-11-21.gz"), func(in io.Reader) error {
		l.needs, err = stanzas(in)
		return err
	})
}

func open(name string, read func(io.Reader) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return read(f)
}

// stanzas reads a Packages index: the newest version of each package.
func stanzas(in io.Reader) (out []stanza, err error) {
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	at, one := map[string]int{}, stanza{}
	keep := func() {
		if one.source == "" {
			one.source = one.name
		}
		if i, ok := at[one.name]; ok {
			out[i] = one
		} else if one.name != "" {
			at[one.name], out = len(out), append(out, one)
		}
		one = stanza{}
	}
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), ": ")
		switch key {
		case "Package":
			keep()
			one.name = value
		case "Source":
			one.source, _, _ = strings.Cut(value, " ")
		case "Version":
			one.version = value
		case "Depends":
			one.depends = value[:min(len(value), 400)]
		}
	}
	keep()
	return out, s.Err()
}

func spokenOf(x cve.Record) advice.Spoken {
	s := advice.Spoken{CVE: x.CVE, Rejected: x.Rejected, AsOf: advicetest.Now - 3600, Digest: x.Raw}
	for _, c := range x.Claims {
		s.Points = append(s.Points, advice.Point{Source: c.Source, Name: string(c.Point), Value: c.Value})
	}
	for _, c := range x.Scores {
		s.Scores = append(s.Scores, advice.Score{Source: c.Source, Version: c.Version, Vector: c.Vector, Tenths: c.Tenths})
	}
	return s
}

// dossiers makes dossiers of small groups of records, each with CVE records
// beside them, and of packages that depend on each other; and says how many
// groups gave none.
func (l loaded) dossiers(r *rand.Rand) (out []advice.Dossier, left int) {
	const groups, of = 300, 4
	debian := slices.DeleteFunc(slices.Clone(l.records), func(a advisory.Advisory) bool { return !strings.HasPrefix(a.Source, "osv/DEBIAN") })
	for n := range groups {
		var records []advisory.Advisory
		for i := range of {
			from := l.records
			if (n+i)%2 == 0 {
				from = debian
			}
			records = append(records, from[r.IntN(len(from))])
		}
		wanted := []advicetest.Wanted{}
		for _, a := range records {
			if len(a.Affected) > 0 && change.Name(a.Affected[0].Package) {
				wanted = want(wanted, a.Affected[0].Package, "2", "", a.ID)
			}
		}
		if left++; len(wanted) > 0 {
			left, out = left-1, append(out, l.dossier(r, wanted, records))
		}
	}
	for range groups / 3 {
		wanted, records := l.family(r, debian)
		if left++; len(wanted) > 1 {
			left, out = left-1, append(out, l.dossier(r, wanted, records))
		}
	}
	return out, left
}

// want adds what a plan upgrades, once.
func want(list []advicetest.Wanted, name, to, depends, id string) []advicetest.Wanted {
	for i, w := range list {
		if w.Package == name {
			list[i].Fixes = append(list[i].Fixes, id)
			return list
		}
	}
	return append(list, advicetest.Wanted{Package: name, Source: name, From: "0", To: to, Class: change.Routine, Depends: depends, Fixes: []string{id}})
}

// family takes packages of one source with their real dependencies, and a record
// about something.
func (l loaded) family(r *rand.Rand, debian []advisory.Advisory) (wanted []advicetest.Wanted, records []advisory.Advisory) {
	one, a := l.needs[r.IntN(len(l.needs))], debian[r.IntN(len(debian))]
	for _, s := range l.needs {
		if s.source == one.source && len(wanted) < 8 && change.Name(s.name) {
			wanted = want(wanted, s.name, s.version, string(canon.NoteOf(s.depends)), a.ID)
		}
	}
	return wanted, []advisory.Advisory{a}
}

// dossier builds one, with CVE records that the first change answers, too.
func (l loaded) dossier(r *rand.Rand, wanted []advicetest.Wanted, records []advisory.Advisory) advice.Dossier {
	m := advice.Material{}
	for range 3 {
		s := l.spoken[r.IntN(len(l.spoken))]
		m.Spoke = append(m.Spoke, s)
		records = append(records, advisory.Advisory{ID: s.CVE, Aliases: []string{}, Upstream: []string{}, Related: []string{}, Source: "osv/CVE", Basis: advisory.BasisRecord,
			Affected: []advisory.Affected{}, Severities: []advisory.Severity{}, Raw: s.Digest})
		wanted[0].Fixes = append(wanted[0].Fixes, s.CVE)
	}
	m.Plan, m.Sets = advicetest.Plan(wanted...), []advisory.Set{advicetest.Set(records...)}
	m.KEV = &advice.Catalogue{Version: l.kev.Version, AsOf: advicetest.Now - 86400, Digest: l.kev.Snapshot.Digest, Listed: map[string]bool{}}
	m.EPSS = &advice.Scores{Day: l.epss.Day, AsOf: advicetest.Now - 86400, Digest: l.epss.Snapshot.Digest, Share: map[string]string{}}
	for _, id := range advice.CVEs(records) {
		if _, ok := l.kev.Lookup(id); ok != kev.Unknown {
			m.KEV.Listed[id] = ok == kev.Listed
		}
		if s, ok := l.epss.Of(id); ok {
			m.EPSS.Share[id] = s.Share()
		}
	}
	return advicetest.Dossier(m)
}
