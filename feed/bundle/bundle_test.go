package bundle

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/seal"
	"github.com/patchwrit/patchwrit/identity/sshsign"
	"github.com/patchwrit/patchwrit/refusal"
)

const (
	t0   = int64(1_790_000_000)
	week = 7 * 24 * 3600
)

func rec(id string, modified int64) string {
	return fmt.Sprintf(`{"id":%q,"modified":%q,"affected":[{"package":{"ecosystem":"Debian:12","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1"}]}]}]}`,
		id, time.Unix(modified, 0).UTC().Format(time.RFC3339))
}

type site struct {
	t     testing.TB
	depot *depot.Depot
}

func newSite(t testing.TB) site {
	return site{t, depot.Open(filepath.Join(t.TempDir(), "depot"), nil)}
}

// has keeps a feed that was fetched at the time.
func (s site) has(name, text string, at int64) depot.Kept {
	s.t.Helper()
	dir, err := s.depot.Staging()
	if err != nil {
		s.t.Fatal(err)
	}
	file := filepath.Join(dir, "x")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	k, err := s.depot.Keep(context.Background(), depot.Rules{Name: name, Kind: "osv", MaxAge: week, Shrink: 10}, depot.Arrived{File: file, Source: "https://feeds.example/" + name, Modified: at}, at)
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

func (s site) feed(name string) depot.Feed {
	s.t.Helper()
	f, _, err := s.depot.Feed(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

type person struct {
	sshsign.Signer
	seal.Signers
}

func newPerson(t testing.TB) person {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	k, err := sshsign.Memory(private)
	if err != nil {
		t.Fatal(err)
	}
	s, err := seal.ReadSigners(append([]byte("me "), ssh.MarshalAuthorizedKey(key)...))
	if err != nil {
		t.Fatal(err)
	}
	return person{k, s}
}

func (s site) writes(p person, now int64, names ...string) []byte {
	s.t.Helper()
	var b bytes.Buffer
	if _, err := Write(context.Background(), &b, s.depot, names, p, now); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

func (s site) imports(raw []byte, o Options) ([]Imported, error) {
	_, _, list, err := Import(context.Background(), s.depot, bytes.NewReader(raw), o)
	return list, err
}

// untouched wants a depot with nothing kept and no half file.
func (s site) untouched(what string) {
	s.t.Helper()
	names, err := s.depot.Names()
	half, _ := filepath.Glob(filepath.Join(s.depot.Dir(), "partial", "*"))
	if err != nil || len(names) > 0 || len(half) > 0 {
		s.t.Fatalf("%s: the depot has %v %v, %v", what, names, half, err)
	}
}

func TestFromSiteToSite(t *testing.T) {
	here, there, me := newSite(t), newSite(t), newPerson(t)
	a := here.has("a", rec("A", t0-100), t0)
	here.has("b", rec("B", t0-100), t0)
	here.has("c", rec("C", t0-100), t0)
	if err := here.depot.Confirmed(depot.Rules{Name: "a", Kind: "osv", MaxAge: week, Shrink: 10}, t0+500); err != nil {
		t.Fatal(err)
	}
	raw := here.writes(me, t0+1000, "b", "a", "a")
	list, err := there.imports(raw, Options{Signers: me.Signers, Now: t0 + week})
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	f := there.feed("a")
	k, _ := f.InUse()
	if k.Digest != a.Digest || k.Fetched != t0 || f.Checked != t0+500 || f.MaxAge != week || k.Source != "https://feeds.example/a" || k.Modified != t0 || !strings.HasPrefix(k.Proof.Text(), "bundle of me SHA256:") {
		t.Errorf("%+v", f)
	}
	if got := f.Standing(t0 + week + 501); got != depot.Stale {
		t.Error("what was carried is younger than it was:", got)
	}
	if names, _ := there.depot.Names(); len(names) != 2 {
		t.Error(names)
	}
	if list, err = there.imports(raw, Options{Signers: me.Signers, Now: t0 + week}); err != nil || !list[0].Same || len(there.feed("a").Kept) != 1 {
		t.Error(list, err)
	}
}

func TestEveryByteOfABundleCounts(t *testing.T) {
	here, there, me := newSite(t), newSite(t), newPerson(t)
	here.has("a", rec("A", t0-100), t0)
	here.has("b", rec("B", t0-100), t0)
	raw := here.writes(me, t0, "a", "b")
	codes := map[refusal.Code]int{}
	for i := range raw {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(raw)
			bad[i] ^= bit
			_, err := there.imports(bad, Options{Signers: me.Signers, Now: t0})
			code := refusal.CodeOf(err)
			if code != CodeForm && code != CodeSize && code != CodeDigest && code != seal.CodeSignature {
				t.Fatalf("byte %d of %d: %v", i, len(raw), err)
			}
			codes[code]++
		}
	}
	there.untouched("changed bytes")
	for n := range raw {
		if _, err := there.imports(raw[:n], Options{Signers: me.Signers, Now: t0}); refusal.CodeOf(err) != CodeForm && refusal.CodeOf(err) != seal.CodeSignature {
			t.Fatalf("cut after %d of %d: %v", n, len(raw), err)
		}
	}
	if _, err := there.imports(append(bytes.Clone(raw), 0), Options{Signers: me.Signers, Now: t0}); refusal.CodeOf(err) != CodeForm {
		t.Error("something stands behind it:", err)
	}
	there.untouched("cut or longer")
	if len(codes) != 4 {
		t.Error("not every refusal was met:", codes)
	}
	t.Logf("%d bytes: %v", len(raw), codes)
	if _, err := there.imports(raw, Options{Signers: me.Signers, Now: t0}); err != nil {
		t.Error("the twin is refused:", err)
	}
}

func TestOnlyWhoCountsMayCarry(t *testing.T) {
	here, there, me, other := newSite(t), newSite(t), newPerson(t), newPerson(t)
	here.has("a", rec("A", t0-100), t0)
	if _, err := there.imports(here.writes(other, t0, "a"), Options{Signers: me.Signers, Now: t0}); refusal.CodeOf(err) != seal.CodeSignature {
		t.Error(err)
	}
	there.untouched("another's bundle")
}

// signed makes a bundle around any manifest.
func signed(t testing.TB, p person, manifest []byte, bodies ...string) []byte {
	t.Helper()
	blob, err := p.Sign(context.Background(), seal.BundleNamespace, manifest)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(magic + string(sized(manifest)) + string(sized(blob)) + strings.Join(bodies, ""))
}

func TestASignedManifestHasBoundsToo(t *testing.T) {
	me, text := newPerson(t), rec("A", t0-100)
	entry := func(name string) Entry {
		return Entry{Name: name, Kind: "osv", MaxAge: week, Shrink: 10, Checked: t0, Digest: canon.SumFile([]byte(text)), Size: int64(len(text)), Fetched: t0, Modified: t0}
	}
	with := func(edit func(*Manifest)) []byte {
		m := Manifest{Type: TypeManifest, Made: t0, Feeds: []Entry{entry("a")}}
		edit(&m)
		return canon.MustEncode(m)
	}
	o := Options{Signers: me.Signers, Now: t0, One: 1000, All: 1500}
	for name, c := range map[string]struct {
		manifest []byte
		want     refusal.Code
	}{
		"twin":           {with(func(*Manifest) {}), ""},
		"no manifest":    {[]byte("{}"), CodeForm},
		"another type":   {with(func(m *Manifest) { m.Type = "patchwrit/feed/v1" }), CodeForm},
		"no feeds":       {with(func(m *Manifest) { m.Feeds = m.Feeds[:0] }), CodeSize},
		"too many feeds": {with(func(m *Manifest) { m.Feeds = make([]Entry, maxFeeds+1) }), CodeSize},
		"out of the way": {with(func(m *Manifest) { m.Feeds[0].Name = "../a" }), CodeForm},
		"twice":          {with(func(m *Manifest) { m.Feeds = append(m.Feeds, m.Feeds[0]) }), CodeForm},
		"no digest":      {with(func(m *Manifest) { m.Feeds[0].Digest = "../../etc/passwd" }), CodeForm},
		"no age":         {with(func(m *Manifest) { m.Feeds[0].MaxAge = 0 }), CodeForm},
		"no share":       {with(func(m *Manifest) { m.Feeds[0].Shrink = 101 }), CodeForm},
		"too large":      {with(func(m *Manifest) { m.Feeds[0].Size = 1001 }), CodeSize},
		"too large together": {with(func(m *Manifest) {
			m.Feeds = append(m.Feeds, entry("b"))
			m.Feeds[0].Size, m.Feeds[1].Size = 1000, 501
		}), CodeSize},
	} {
		there := newSite(t)
		if _, err := there.imports(signed(t, me, c.manifest, text), o); refusal.CodeOf(err) != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s: %v", name, err)
		} else if c.want != "" {
			there.untouched(name)
		}
	}
	huge := []byte(magic + string(binary.BigEndian.AppendUint32(nil, maxManifest+1)))
	if _, err := newSite(t).imports(huge, o); refusal.CodeOf(err) != CodeSize {
		t.Error(err)
	}
}

func TestABundleDoesNotGoBack(t *testing.T) {
	here, there, me := newSite(t), newSite(t), newPerson(t)
	here.has("a", rec("A", t0-100), t0)
	old := here.writes(me, t0, "a")
	here.has("a", rec("A", t0-50), t0+100)
	young := here.writes(me, t0+100, "a")
	o := Options{Signers: me.Signers, Now: t0 + 200}
	if _, err := there.imports(young, o); err != nil {
		t.Fatal(err)
	}
	list, err := there.imports(old, o)
	if err != nil || list[0].Kept.State != depot.Refused || list[0].Kept.Reasons[0].Code != depot.CodeBackwards || list[0].Feed.Standing(t0+200) != depot.Contest {
		t.Fatalf("%+v %v", list, err)
	}
	if in, _ := there.feed("a").InUse(); in.Newest != t0-50 {
		t.Error("the old one is in use")
	}
	o.Rollback = true
	list, err = there.imports(old, o)
	if err != nil || list[0].Kept.State != depot.Accepted || !strings.Contains(list[0].Kept.Word.Text(), "--rollback, bundle of me") || list[0].Feed.Standing(t0+200) != depot.OK {
		t.Fatalf("%+v %v", list, err)
	}
	if in, _ := there.feed("a").InUse(); in.Newest != t0-100 {
		t.Error("the old one is not in use, although that was said")
	}
	here.has("a", "<html>", t0+300) // refused there
	if _, err := Write(t.Context(), &bytes.Buffer{}, here.depot, []string{"a"}, me, t0); err == nil || !strings.Contains(err.Error(), "settle that first") {
		t.Error(err)
	}
}

// Where a format has no dates, only the time of fetching tells which is older.
func TestWhatWasFetchedBeforeIsOlder(t *testing.T) {
	there, me := newSite(t), newPerson(t)
	of := func(id string, fetched int64) []byte {
		text := rec(id, t0-100)
		return signed(t, me, canon.MustEncode(Manifest{Type: TypeManifest, Made: fetched, Feeds: []Entry{{Name: "a", Kind: "osv", MaxAge: week, Shrink: 10,
			Checked: fetched, Digest: canon.SumFile([]byte(text)), Size: int64(len(text)), Fetched: fetched}}}), text)
	}
	o := Options{Signers: me.Signers, Now: t0 + 200}
	if list, err := there.imports(of("B", t0+100), o); err != nil || list[0].Kept.State != depot.Accepted {
		t.Fatal(list, err)
	}
	if list, err := there.imports(of("A", t0), o); err != nil || list[0].Kept.State != depot.Refused || list[0].Kept.Reasons[0].Code != depot.CodeBackwards {
		t.Error(list, err)
	}
	if list, err := there.imports(of("C", t0+101), o); err != nil || list[0].Kept.State != depot.Accepted {
		t.Error(list, err)
	}
}

func TestWhoGivesUpKeepsNothing(t *testing.T) {
	here, there, me := newSite(t), newSite(t), newPerson(t)
	here.has("a", rec("A", t0-100), t0)
	raw := here.writes(me, t0, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, _, err := Import(ctx, there.depot, bytes.NewReader(raw), Options{Signers: me.Signers, Now: t0}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	there.untouched("given up")
}

func TestWhatCannotBeCarried(t *testing.T) {
	here, there, me := newSite(t), newSite(t), newPerson(t)
	for _, names := range [][]string{nil, {"absent"}} {
		if _, err := Write(t.Context(), &bytes.Buffer{}, here.depot, names, me, t0); err == nil || !strings.Contains(err.Error(), "to carry") {
			t.Error("a bundle of", names, err)
		}
	}
	k := here.has("a", rec("A", t0-100), t0)
	raw := here.writes(me, t0, "a")
	if err := there.depot.Missed(depot.Rules{Name: "a", Kind: "kev", MaxAge: week}, t0, 0, os.ErrClosed); err != nil {
		t.Fatal(err)
	}
	if _, err := there.imports(raw, Options{Signers: me.Signers, Now: t0}); err == nil || !strings.Contains(err.Error(), "is kev here and osv in the bundle") {
		t.Error(err)
	}
	if _, _, _, err := Import(t.Context(), there.depot, iotest.TimeoutReader(bytes.NewReader(raw)), Options{Signers: me.Signers, Now: t0}); !errors.Is(err, iotest.ErrTimeout) {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(here.depot.Dir(), "objects", string(k.Digest)), []byte(rec("B", t0-100)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), &bytes.Buffer{}, here.depot, []string{"a"}, me, t0); refusal.CodeOf(err) != CodeDigest {
		t.Error("changed bytes are carried on:", err)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(canon.MustEncode(Manifest{Type: TypeManifest, Made: t0, Feeds: []Entry{{Name: "a", Kind: "osv", MaxAge: week, Digest: canon.SumFile(nil)}}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := readManifest(raw, Options{})
		if err != nil {
			if refusal.CodeOf(err) == "" {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(canon.MustEncode(m), raw) {
			t.Error("two spellings of one manifest")
		}
	})
}

func FuzzImport(f *testing.F) {
	me := newPerson(f)
	here := newSite(f)
	here.has("a", rec("A", t0-100), t0)
	raw := here.writes(me, t0, "a")
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		there := newSite(t)
		if _, err := there.imports(b, Options{Signers: me.Signers, Now: t0}); err == nil && !bytes.Equal(b, raw) {
			t.Error("another bundle is taken")
		} else if err != nil && refusal.CodeOf(err) == "" {
			t.Error(err)
		}
	})
}
