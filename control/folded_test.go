package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/store/sqlite"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/wire"
)

// mortal is a store whose process dies at one commit: before it reaches the disk,
// or after it has and before anybody knows.
type mortal struct {
	store.Store
	left  int // commits until then; negative: it lives
	after bool
}

var errDead = errors.New("killed")

func (m *mortal) Commit(ctx context.Context, b store.Batch) (int64, error) {
	if m.left == 0 {
		return 0, errDead
	}
	if m.left--; m.left != 0 {
		return m.Store.Commit(ctx, b)
	}
	if m.after {
		m.Store.Commit(ctx, b)
	}
	return 0, errDead
}

// clockwork is what of a control plane keeps clocks, over one store.
type clockwork struct {
	*Control
	t    testing.TB
	dir  string
	now  time.Time
	kill mortal
}

func newClockwork(t testing.TB) *clockwork {
	w := &clockwork{t: t, dir: t.TempDir(), now: time.Unix(1_800_000_000, 0), kill: mortal{left: -1}}
	s, err := sqlite.Open(t.Context(), w.dir)
	w.must(err)
	t.Cleanup(func() { s.Close() })
	w.kill.Store = s
	for _, sub := range []string{"blobs", "hosts"} {
		w.must(os.MkdirAll(filepath.Join(w.dir, sub), 0o700))
	}
	w.open()
	return w
}

func (w *clockwork) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// open starts anew on what the store holds.
func (w *clockwork) open() {
	w.t.Helper()
	tables, err := priority.Standard()
	w.must(err)
	w.Control = &Control{Config: Config{Store: &w.kill, Dir: w.dir, Tables: tables, Now: func() time.Time { return w.now }, Logger: slog.New(slog.DiscardHandler)},
		blobs: blobs(filepath.Join(w.dir, "blobs")), trouble: map[string]string{}, unfolded: map[trust.HostID]error{}}
	w.book, err = readBook(w.t.Context(), w.Store)
	w.must(err)
	w.must(w.foldMissing(w.t.Context()))
}

// host enrols a host whose snapshot says that nothing old runs.
func (w *clockwork) host(n int) trust.HostID {
	w.t.Helper()
	id := trust.HostID(canon.SumFile(fmt.Append(nil, n)))
	s := wire.Snapshot{Type: wire.TypeSnapshot, Host: id, Status: []canon.Note{}, Origins: []wire.PackageOrigin{}, Services: []wire.Service{},
		Mapped: []inventory.Mapping{}, MappedAt: 1}
	w.must(os.WriteFile(w.snapshotFile(s.Digest()), canon.MustEncode(s), 0o600))
	w.must(w.put(w.t.Context(), "", nil, Host{Wire: fmt.Sprint("W", n), ID: id, State: wire.Enrolled, Runs: []string{}, Snapshot: s.Digest()}))
	return id
}

// look lets one look see vulnerabilities on hosts that have packages at versions.
func (w *clockwork) look(ids []trust.HostID, seen []spotted, versions map[string]string) error {
	o := observation{at: w.now.Unix(), lists: map[canon.Digest][]spotted{}, folds: map[foldKey]folded{}}
	for name, v := range versions {
		o.inv.Packages = append(o.inv.Packages, inventory.Package{Name: name, Arch: "amd64", SourceVersion: v, Scheme: version.Deb, Status: inventory.Status{State: inventory.Installed}})
	}
	seen = append([]spotted{}, seen...)
	slices.SortFunc(seen, func(a, b spotted) int { return strings.Compare(a.key(), b.key()) })
	blob, err := w.blobs.put(canon.MustEncode(seen))
	w.must(err)
	o.lists[blob] = seen
	for _, id := range ids {
		if err := w.glimpse(w.t.Context(), o, id, sight{seen, blob}); err != nil {
			return err
		}
	}
	return nil
}

// whole fails when what is kept folded is not what all records come to.
func (w *clockwork) whole() {
	w.t.Helper()
	shared := map[canon.Digest]int{}
	for id, x := range w.book.exposures {
		all, err := w.glimpses(w.t.Context(), id)
		w.must(err)
		want, err := w.refold(all)
		w.must(err)
		if one := w.oneByOne(all); !reflect.DeepEqual(want, one) {
			w.t.Fatalf("host %s\nfolded %+v\nits events %+v", id.Short(), want, one)
		}
		w.states = states{} // of the store
		got, err := w.kept(w.t.Context(), x.Folded)
		if err != nil || !reflect.DeepEqual(got, want) {
			w.t.Fatalf("host %s: %v\nkept %+v\nof all %+v", id.Short(), err, got, want)
		}
		doc, err := get[Exposures](w.t.Context(), w.Store, kindExposure, string(id))
		if err != nil || !reflect.DeepEqual(doc, x) || x.Count != len(all) || x.Last != all[len(all)-1] || !slices.Equal(x.Press, summed(want)) {
			w.t.Fatalf("host %s: %v\nkept %+v\nin memory %+v\nlast %+v", id.Short(), err, doc, x, all[len(all)-1])
		}
		shared[x.Folded]++
	}
	stored := map[canon.Digest]bool{}
	for d, err := range w.Store.Docs(w.t.Context(), kindClocks) {
		w.must(err)
		stored[canon.Digest(d.ID)] = true
	}
	if !reflect.DeepEqual(shared, w.book.shared) || len(stored) != len(shared) {
		w.t.Fatalf("%d states are stored, %d are had; counted %v, want %v", len(stored), len(shared), w.book.shared, shared)
	}
}

// oneByOne folds glimpses as events with their times.
func (w *clockwork) oneByOne(all []Glimpse) priority.State {
	var events []priority.Event
	var before []spotted
	for _, g := range all {
		seen, err := w.spottedIn(g.Seen)
		w.must(err)
		ended, err := w.spottedIn(g.Ended)
		w.must(err)
		events = append(events, w.eventsOf(g.At, before, seen, ended)...)
		before = seen
	}
	return priority.NewState(events)
}

// someVulnerabilities draws what one look sees.
func someVulnerabilities(dice *rand.Rand) (seen []spotted) {
	for _, names := range [][]string{{"CVE-2026-0001"}, {"CVE-2026-0001", "DSA-1"}, {"CVE-2026-0002", "DSA-1"}, {"CVE-2026-0003"}, {"DSA-4"}} {
		if dice.IntN(3) > 0 {
			class := []string{"3DF", "14D", "FSU", ""}[dice.IntN(4)]
			seen = append(seen, spotted{Names: names, Class: class, On: []cure{{"p" + names[0][len(names[0])-1:], "amd64", "2", ""}}})
		}
	}
	return seen
}

// TestKeptClocksAreThoseOfAllRecords kills the control plane around commits, takes
// documents away, and starts anew: what is kept folded is at each moment what all
// records come to.
func TestKeptClocksAreThoseOfAllRecords(t *testing.T) {
	deaths, ended := 0, 0
	for seed := range uint64(4) {
		dice, w := rand.New(rand.NewPCG(seed, 11)), newClockwork(t)
		ids := []trust.HostID{w.host(1), w.host(2), w.host(3)}
		for range 25 {
			w.now = w.now.Add(time.Duration(dice.IntN(3)) * time.Hour)
			versions := map[string]string{}
			for _, p := range []string{"p1", "p2", "p3", "p4"} {
				versions[p] = []string{"1", "2"}[dice.IntN(2)]
			}
			if dice.IntN(3) == 0 {
				w.kill.left, w.kill.after = 1+dice.IntN(3), dice.IntN(2) == 0
			}
			some := ids[:1+dice.IntN(3)]
			if err := w.look(some, someVulnerabilities(dice), versions); err != nil {
				if !errors.Is(err, errDead) {
					t.Fatal(err)
				}
				deaths++
				w.kill.left = -1
				w.open()
			}
			w.kill.left = -1
			w.whole()
			switch x := w.book.exposures[ids[0]]; {
			case x.Count == 0:
			case dice.IntN(6) == 0: // gone, as from a database that somebody restored in part
				w.must(commitDocs(w, store.Doc{Kind: kindExposure, ID: string(x.Host)}))
				w.open()
				if w.book.exposures[x.Host].Folded != x.Folded {
					t.Fatal("the same records come to something else")
				}
			case dice.IntN(6) == 0:
				x.Version = "another"
				w.must(commitDocs(w, x.doc()))
				w.open()
			case dice.IntN(6) == 0:
				w.must(commitDocs(w, store.Doc{Kind: kindClocks, ID: string(x.Folded), Body: []byte(`{"at":1,"clocks":[],"loose":[]}`)}))
				w.open()
				_, err := w.past(t.Context(), x.Host)
				w.must(err)
			}
			w.whole()
		}
		s, err := w.past(t.Context(), ids[0])
		w.must(err)
		for _, x := range s.Exposures("") {
			if x.Closed != 0 || x.Used != 0 {
				ended++
			}
		}
	}
	if deaths < 10 || ended < 3 {
		t.Errorf("%d deaths, %d clocks ended", deaths, ended)
	}
}

func commitDocs(w *clockwork, docs ...store.Doc) error {
	_, err := w.Store.Commit(w.t.Context(), store.Batch{Expect: store.Any, Docs: docs})
	return err
}

// TestAPastThatCannotBeReadStopsNoClock: a host whose record is damaged is told,
// and its clocks do not begin anew.
func TestAPastThatCannotBeReadStopsNoClock(t *testing.T) {
	w := newClockwork(t)
	id, other := w.host(1), w.host(2)
	seen := []spotted{{Names: []string{"CVE-2026-0001"}, Class: "3D", On: []cure{{"p1", "amd64", "2", ""}}}}
	w.must(w.look([]trust.HostID{id}, seen, map[string]string{"p1": "1"}))
	w.now = w.now.Add(time.Hour)
	w.must(w.look([]trust.HostID{other}, append(seen, spotted{Names: []string{"CVE-2026-0002"}, On: []cure{}}), map[string]string{"p1": "1"}))
	w.must(commitDocs(w, store.Doc{Kind: kindExposure, ID: string(id)}))
	lost := w.book.exposures[id].Last.Seen
	w.must(os.Rename(w.blobs.path(lost), w.blobs.path(lost)+".away"))
	w.open()
	w.now = w.now.Add(time.Hour)
	if err := w.look([]trust.HostID{id}, nil, nil); err == nil {
		t.Error("a look at a host without its past goes on as if it had none")
	}
	if _, err := w.past(t.Context(), id); err == nil {
		t.Error("a host without its past has no clocks")
	}
	if _, err := w.runningOn(t.Context(), []trust.HostID{id}, nil); err == nil || len(w.Trouble()) == 0 {
		t.Errorf("the rules are told of no clocks: %v, %q", err, w.Trouble())
	}
	w.must(w.look([]trust.HostID{other}, seen, map[string]string{"p1": "1"}))
	w.must(os.Rename(w.blobs.path(lost)+".away", w.blobs.path(lost)))
	w.open()
	s, err := w.past(t.Context(), id)
	if err != nil || len(s.Clocks) != 1 || s.Clocks[0].First != 1_800_000_000 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestRecordsOfTheVersionBefore have no list of the clocks that run: it is made
// of everything that was found, so that none ends early.
func TestRecordsOfTheVersionBefore(t *testing.T) {
	w := newClockwork(t)
	id := w.host(1)
	one := spotted{Names: []string{"CVE-2026-0001"}, On: []cure{{"p1", "amd64", "2", ""}, {"p2", "amd64", "2", ""}}}
	less := spotted{Names: one.Names, On: one.On[:1]}
	gone := spotted{Names: []string{"CVE-2026-0002"}, On: []cure{{"p3", "amd64", "2", ""}}}
	for i, g := range []struct{ seen, ended []spotted }{{[]spotted{one, gone}, nil}, {[]spotted{less}, []spotted{gone}}} {
		var before Glimpse
		var err error
		before.At = 1_799_000_000 + int64(i)
		before.Seen, err = w.blobs.put(canon.MustEncode(append([]spotted{}, g.seen...)))
		w.must(err)
		before.Ended, err = w.blobs.put(canon.MustEncode(append([]spotted{}, g.ended...)))
		w.must(err)
		w.must(w.note(t.Context(), "exposure/"+string(id), "exposure", before))
	}
	old := fmt.Sprintf(`{"glimpses":[],"host":"%s","open":""}`, id)
	w.must(commitDocs(w, store.Doc{Kind: kindExposure, ID: string(id), Body: []byte(old)}))
	w.open()
	open, err := w.spottedIn(w.book.exposures[id].Last.Open)
	if err != nil || len(open) != 1 || !slices.Equal(open[0].On, one.On) {
		t.Fatalf("%+v, %v", open, err)
	}
	w.must(w.look([]trust.HostID{id}, nil, map[string]string{"p1": "2", "p2": "1"}))
	if s, _ := w.past(t.Context(), id); s.Clocks[0].Closed != 0 {
		t.Errorf("it ended with one package that is not fixed: %+v", s)
	}
	w.now = w.now.Add(time.Hour)
	w.must(w.look([]trust.HostID{id}, nil, map[string]string{"p1": "2", "p2": "2"}))
	if s, _ := w.past(t.Context(), id); s.Clocks[0].Closed == 0 || s.Clocks[0].First != 1_799_000_000 {
		t.Errorf("%+v", s)
	}
}

// TestWhatPressesMost is told by the sums alone, at any time.
func TestWhatPressesMost(t *testing.T) {
	classes := []priority.Class{}
	tables, err := priority.Standard()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range tables.BOD.Outcome.Values {
		c, _ := tables.Class(v.Key)
		classes = append(classes, c)
	}
	const day = 24 * 3600
	rapid.Check(t, func(t *rapid.T) {
		var events []priority.Event
		for i := range rapid.IntRange(0, 6).Draw(t, "n") {
			names, at := []string{fmt.Sprintf("CVE-2026-%04d", i)}, rapid.Int64Range(0, 80).Draw(t, "at")*day
			events = append(events, priority.Event{At: at, Names: names, Kind: priority.Seen},
				priority.Event{At: at, Names: names, Kind: priority.Assessed, Class: rapid.SampledFrom(classes).Draw(t, "class")})
			if rapid.IntRange(0, 3).Draw(t, "fixed") == 0 {
				events = append(events, priority.Event{At: at + day, Names: names, Kind: priority.Effective})
			}
		}
		s, now := priority.NewState(events), rapid.Int64Range(0, 150).Draw(t, "now")*day
		var want *priority.Work
		for _, x := range s.Exposures("") {
			w := workOf(x)
			w.ID = ""
			if x.Closed == 0 && (want == nil || priority.Compare(w, *want, now) < 0) {
				want = &w
			}
		}
		got, ok := Exposures{Press: summed(s)}.most(now)
		if ok != (want != nil) || ok && got != *want {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

// TestStatesInMemoryAreBounded.
func TestStatesInMemoryAreBounded(t *testing.T) {
	var k states
	for i := range 10 {
		k.put(canon.SumFile(fmt.Append(nil, i)), priority.State{Clocks: make([]priority.Clock, maxFolded/4)})
		k.get(canon.SumFile([]byte("0")))
	}
	if _, ok := k.get(canon.SumFile([]byte("0"))); !ok || len(k.by) != 4 || len(k.order) != 4 || k.size > maxFolded {
		t.Errorf("%d states of %d clocks; the one that is asked for again and again is there: %t", len(k.by), k.size, ok)
	}
}

// TestHostsOfOnePastAreFoldedAnewAlike: after a change of the fold, those that
// have seen the same at the same time have the same clocks, and no others.
func TestHostsOfOnePastAreFoldedAnewAlike(t *testing.T) {
	w := newClockwork(t)
	seen := func(name string) []spotted {
		return []spotted{{Names: []string{name}, Class: "3D", On: []cure{{"p1", "amd64", "2", "p"}}}}
	}
	ids := []trust.HostID{w.host(0), w.host(1), w.host(2), w.host(3), w.host(4), w.host(5)}
	w.must(w.look(ids[:2], seen("CVE-2026-0001"), map[string]string{"p1": "1"}))
	w.must(w.look(ids[2:3], seen("CVE-2026-0002"), map[string]string{"p1": "1"}))
	w.now = w.now.Add(time.Hour)
	w.must(w.look(ids[3:], seen("CVE-2026-0001"), map[string]string{"p1": "1"}))
	w.now = w.now.Add(time.Hour)
	w.must(w.look(ids[4:5], nil, map[string]string{"p1": "2"})) // fixed
	w.must(w.look(ids[5:], nil, map[string]string{"p1": "1"}))  // no feed speaks of it
	for _, id := range ids {
		x := w.book.exposures[id]
		x.Version = "another"
		w.must(w.put(t.Context(), "", nil, x))
	}
	w.open()
	folds := map[canon.Digest]int{}
	for _, id := range ids {
		if x := w.book.exposures[id]; x.Version == "another" {
			t.Errorf("host %s was not folded anew", id.Short())
		} else {
			folds[x.Folded]++
		}
	}
	if len(folds) != 5 || folds[w.book.exposures[ids[0]].Folded] != 2 {
		t.Errorf("%v", folds)
	}
	w.whole()
}

// TestFoldingManyAnew takes what nobody has any more away, in one transaction with
// what comes instead; and where that cannot be kept, nothing is, and each host
// says so.
func TestFoldingManyAnew(t *testing.T) {
	w := newClockwork(t)
	seen := func(name string) []spotted {
		return []spotted{{Names: []string{name}, Class: "3D", On: []cure{{"p1", "amd64", "2", "p"}}}}
	}
	var ids []trust.HostID
	for i := range foldedAtOnce + 5 {
		ids = append(ids, w.host(i))
		w.now = w.now.Add(time.Duration(1-i%2) * time.Second) // two have one past
		w.must(w.look(ids[i:], seen(fmt.Sprintf("CVE-2026-%04d", i/2%3)), map[string]string{"p1": "1"}))
	}
	right := map[trust.HostID]canon.Digest{}
	for _, id := range ids {
		right[id] = w.book.exposures[id].Folded
	}
	for i, id := range ids { // as another version made them: three share each, and one has what others will have
		x := w.book.exposures[id]
		old := clocksOf(priority.State{At: int64(i / 3), Clocks: []priority.Clock{}, Loose: []string{}})
		if i == 4 {
			s, err := w.stateOf(t.Context(), w.book.exposures[ids[6]])
			w.must(err)
			old = clocksOf(s)
		}
		records := []record{}
		if x.Version, x.Folded = "another", old.digest; w.book.shared[old.digest] == 0 {
			records = append(records, old)
		}
		if w.book.shared[right[id]] == 1 {
			records = append(records, clocks{digest: right[id]})
		}
		w.must(w.put(t.Context(), "", nil, append(records, x)...))
	}
	w.kill.left = 1
	w.open()
	if len(w.unfolded) != len(ids) || len(w.Trouble()) == 0 {
		t.Errorf("%d hosts cannot be asked, %d say so", len(w.unfolded), len(w.Trouble()))
	}
	for _, id := range ids {
		if x := w.book.exposures[id]; w.unfolded[id] != nil && x.Version != "another" {
			t.Errorf("host %s has clocks in memory that are not stored", id.Short())
		}
	}
	w.kill.left = -1
	w.open()
	for _, id := range ids {
		if w.book.exposures[id].Folded != right[id] {
			t.Errorf("host %s has other clocks", id.Short())
		}
	}
	w.whole()
}

// TestAnotherVersionIsFoldedAnew, and the same is not read again; the version
// tells the form and the deadline classes.
func TestAnotherVersionIsFoldedAnew(t *testing.T) {
	w := newClockwork(t)
	id := w.host(1)
	w.must(w.look([]trust.HostID{id}, []spotted{{Names: []string{"CVE-2026-0001"}, Class: "3D", On: []cure{{"p1", "amd64", "2", "p"}}}}, map[string]string{"p1": "1"}))
	whole := w.book.exposures[id]
	if len(whole.Press) != 1 {
		t.Fatalf("%+v", whole)
	}
	for version, anew := range map[string]bool{"": true, "another": true, foldForm: true, foldForm + " 000000000000": true, "0" + whole.Version[len(foldForm):]: true, whole.Version: false} {
		bad := whole
		bad.Version, bad.Press = version, []press{}
		w.must(commitDocs(w, bad.doc()))
		w.open()
		want := bad
		if anew {
			want = whole
		}
		if got := w.book.exposures[id]; !reflect.DeepEqual(got, want) {
			t.Errorf("kept by version %q, it is %+v", version, got)
		}
	}
	other := w.Tables
	other.BOD.Outcome.Values = slices.Clone(other.BOD.Outcome.Values)
	other.BOD.Outcome.Values[0].Name += " or so"
	if v := foldVersion(other); v == whole.Version || !strings.HasPrefix(v, foldForm+" ") {
		t.Errorf("with other classes it is version %q, as %q", v, whole.Version)
	}
	gone := w.book.hosts["W1"]
	gone.State = wire.Gone
	bad := whole
	bad.Version, bad.Press = "another", []press{}
	w.must(commitDocs(w, bad.doc(), gone.doc()))
	w.open()
	if got := w.book.exposures[id]; got.Version != "another" {
		t.Error("the past of a host that is gone is folded")
	}
	w.host(2)
	w.open()
	if len(w.book.exposures) != 1 {
		t.Errorf("a host that was never looked at has a past: %+v", w.book.exposures)
	}
}
