// Package bundle carries snapshots of feeds to sites without a network, in one
// signed file.
//
// The parties: a site that fetches, and a person there who signs with an SSH key;
// whoever carries the file; a site that imports it and says whose keys count. The
// objects are the Manifest, which names every snapshot by digest and size, the
// signature over it, and the snapshots' bytes behind.
//
// The promise: Import parses nothing that is not signed, takes no more bytes than
// its limits, and keeps nothing unless every byte of the file is what was signed.
// What it keeps is as old as it was where it was fetched, is judged by the depot
// as if it came from a source, and does not go back behind what is in use unless
// that is said.
//
// The signature says who made the bundle, not that a feed is true. A bundle that
// is withheld looks like any silence: the feeds grow stale.
//
// The file: the line "patchwrit feed bundle 1\n"; the manifest's length in four
// bytes, big-endian, and its canonical JSON; the length and bytes of the SSHSIG
// blob over it, in the namespace patchwrit-feed-bundle@v1; then the snapshots'
// bytes in the manifest's order, and nothing behind.
package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/seal"
	"github.com/patchwrit/patchwrit/refusal"
)

// Why a bundle is refused; beside these, seal.CodeSignature.
const (
	CodeForm   refusal.Code = "PW-FEED-BUNDLE-FORM"   // not a bundle, cut short, or longer than it says
	CodeSize   refusal.Code = "PW-FEED-BUNDLE-SIZE"   // larger than the limits
	CodeDigest refusal.Code = "PW-FEED-BUNDLE-DIGEST" // a snapshot's bytes are not those that were signed
)

// Limits of a bundle, and defaults of Limits.
const (
	magic       = "patchwrit feed bundle 1\n"
	maxManifest = 1 << 20 // a feed takes about 400 bytes of it
	maxFeeds    = 256
	defaultOne  = 1 << 30
	defaultAll  = 8 << 30
)

// TypeManifest is the type of a Manifest.
const TypeManifest = "patchwrit/feeds/v1"

// Manifest is what is signed.
type Manifest struct {
	Type  string  `json:"type"`
	Made  int64   `json:"made"`  // Unix seconds by the signer's clock
	Feeds []Entry `json:"feeds"` // ascending by name
}

// Entry is one snapshot; the fields are those of depot.Feed and depot.Kept.
type Entry struct {
	Name     string       `json:"name"`
	Kind     string       `json:"kind"`
	MaxAge   int64        `json:"max_age"`
	Shrink   int          `json:"shrink"`
	Checked  int64        `json:"checked"`
	Digest   canon.Digest `json:"digest"`
	Size     int64        `json:"size"`
	Source   string       `json:"source"`
	Fetched  int64        `json:"fetched"`
	Modified int64        `json:"modified"`
	Proof    canon.Note   `json:"proof"`
}

// Signer is who signs: an SSHSIG blob, without armour, over message.
type Signer interface {
	Sign(ctx context.Context, namespace string, message []byte) ([]byte, error)
}

// Write writes a bundle of what is in use of the named feeds. A feed with a
// refused newer snapshot is not carried on: the other site would not see the
// doubt.
func Write(ctx context.Context, out io.Writer, d *depot.Depot, names []string, by Signer, now int64) (Manifest, error) {
	m := Manifest{Type: TypeManifest, Made: now, Feeds: []Entry{}}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) == 0 || len(names) > maxFeeds {
		return m, fmt.Errorf("%d feeds to carry; a bundle has 1 to %d", len(names), maxFeeds)
	}
	for _, name := range names {
		f, ok, err := d.Feed(name)
		if err != nil {
			return m, err
		}
		k, in := f.InUse()
		switch _, aside := f.Aside(); {
		case !ok || !in:
			return m, fmt.Errorf("there is nothing in use of feed %q to carry", name)
		case aside:
			return m, fmt.Errorf("feed %s has a newer snapshot that was refused; settle that first (patchwrit feed ls)", name)
		}
		m.Feeds = append(m.Feeds, Entry{f.Name, f.Kind, f.MaxAge, f.Shrink, f.Checked, k.Digest, k.Size, k.Source, k.Fetched, k.Modified, k.Proof})
	}
	raw := canon.MustEncode(m)
	blob, err := by.Sign(ctx, seal.BundleNamespace, raw)
	if err != nil {
		return m, err
	}
	head := slices.Concat([]byte(magic), sized(raw), sized(blob))
	if _, err := out.Write(head); err != nil {
		return m, err
	}
	for _, e := range m.Feeds {
		if err := copyOut(ctx, out, d, e); err != nil {
			return m, fmt.Errorf("feed %s: %w", e.Name, err)
		}
	}
	return m, nil
}

func sized(b []byte) []byte {
	if len(b) > math.MaxInt32 {
		panic("longer than any manifest")
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// copyOut copies a snapshot and sees that it is the one that was signed.
func copyOut(ctx context.Context, out io.Writer, d *depot.Depot, e Entry) error {
	f, err := d.Bytes(e.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	return exactly(ctx, out, f, e)
}

// exactly copies an entry's bytes and refuses others.
func exactly(ctx context.Context, out io.Writer, in io.Reader, e Entry) error {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(reader(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return in.Read(p)
	}), e.Size))
	switch {
	case err != nil:
		return err
	case n < e.Size:
		return refusal.New(CodeForm, "feed %s has %d of %d bytes", e.Name, n, e.Size)
	case hex.EncodeToString(sum.Sum(nil)) != string(e.Digest):
		return refusal.New(CodeDigest, "feed %s", e.Name)
	}
	return nil
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// Options say how a bundle is imported.
type Options struct {
	Signers  seal.Signers
	Now      int64 // Unix seconds
	Rollback bool  // take snapshots that are older than those in use
	One, All int64 // bytes of one snapshot, and of all; 0: 1 GiB, 8 GiB
}

// Imported is what became of one snapshot.
type Imported struct {
	Feed depot.Feed // as it stands now
	Kept depot.Kept
	Same bool // it was in use already
}

// Import checks a whole bundle, and then keeps its snapshots. A snapshot that the
// depot refuses is no error: it is in the list with its reasons.
func Import(ctx context.Context, d *depot.Depot, in io.Reader, o Options) (Manifest, seal.Who, []Imported, error) {
	m, who, err := readHead(in, o)
	if err != nil {
		return m, who, nil, err
	}
	staging, err := d.Staging()
	if err != nil {
		return m, who, nil, err
	}
	dir, err := os.MkdirTemp(staging, "import-")
	if err != nil {
		return m, who, nil, err
	}
	defer os.RemoveAll(dir)
	for _, e := range m.Feeds {
		if err := stage(ctx, filepath.Join(dir, e.Name), in, e); err != nil {
			return m, who, nil, err
		}
	}
	if n, err := io.ReadFull(in, make([]byte, 1)); n > 0 || err != io.EOF {
		return m, who, nil, errors.Join(refusal.New(CodeForm, "something stands behind the last snapshot"), unlessEOF(err))
	}
	if err := sameKinds(d, m); err != nil {
		return m, who, nil, err
	}
	var list []Imported
	for _, e := range m.Feeds {
		one, err := keep(ctx, d, filepath.Join(dir, e.Name), e, who, o)
		if err != nil {
			return m, who, list, err
		}
		list = append(list, one)
	}
	return m, who, list, nil
}

func unlessEOF(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// stage copies one snapshot to a file.
func stage(ctx context.Context, name string, in io.Reader, e Entry) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(exactly(ctx, f, in, e), f.Close())
}

// readHead reads up to the first snapshot. The signature is checked before the
// manifest is parsed.
func readHead(in io.Reader, o Options) (Manifest, seal.Who, error) {
	got := make([]byte, len(magic))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != magic {
		return Manifest{}, seal.Who{}, errors.Join(refusal.New(CodeForm, "it does not begin as one"), unlessEOF(err))
	}
	raw, err := readSized(in, maxManifest)
	if err != nil {
		return Manifest{}, seal.Who{}, err
	}
	blob, err := readSized(in, seal.MaxBlob)
	if err != nil {
		return Manifest{}, seal.Who{}, err
	}
	who, err := o.Signers.Verify(bytes.NewReader(raw), seal.BundleNamespace, blob, o.Now)
	if err != nil {
		return Manifest{}, seal.Who{}, err
	}
	m, err := readManifest(raw, o)
	return m, who, err
}

func readSized(in io.Reader, limit uint32) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, errors.Join(refusal.New(CodeForm, "it ends early"), unlessEOF(err))
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > limit {
		return nil, refusal.New(CodeSize, "a part of its head has %d bytes, at most %d", n, limit)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, errors.Join(refusal.New(CodeForm, "it ends early"), unlessEOF(err))
	}
	return b, nil
}

// readManifest parses what was signed, and holds it to the limits.
func readManifest(raw []byte, o Options) (Manifest, error) {
	one, all := o.One, o.All
	if one == 0 {
		one = defaultOne
	}
	if all == 0 {
		all = defaultAll
	}
	var m Manifest
	if err := canon.Decode(raw, &m); err != nil || m.Type != TypeManifest {
		return Manifest{}, refusal.New(CodeForm, "its manifest cannot be read: type %q, %v", m.Type, err)
	}
	if len(m.Feeds) == 0 || len(m.Feeds) > maxFeeds {
		return Manifest{}, refusal.New(CodeSize, "%d feeds, 1 to %d are taken", len(m.Feeds), maxFeeds)
	}
	last := ""
	for _, e := range m.Feeds {
		switch {
		case !depot.ValidName(e.Name) || e.Name <= last:
			return Manifest{}, refusal.New(CodeForm, "a feed called %q behind %q", e.Name, last)
		case !e.Digest.Valid() || e.MaxAge < 60 || e.Shrink > 100:
			return Manifest{}, refusal.New(CodeForm, "feed %s has a digest, age or share that cannot be", e.Name)
		case e.Size > one || e.Size > all:
			return Manifest{}, refusal.New(CodeSize, "feed %s has %d bytes; at most %d are taken of one, and %d of all together", e.Name, e.Size, one, o.All)
		}
		all -= e.Size
		last = e.Name
	}
	return m, nil
}

// sameKinds refuses a bundle that gives a feed of the depot another kind, before
// anything is kept.
func sameKinds(d *depot.Depot, m Manifest) error {
	for _, e := range m.Feeds {
		f, ok, err := d.Feed(e.Name)
		if err != nil {
			return err
		}
		if ok && f.Kind != e.Kind {
			return fmt.Errorf("feed %s is %s here and %s in the bundle; remove one (patchwrit feed rm %[1]s) or name it otherwise there", e.Name, f.Kind, e.Kind)
		}
	}
	return nil
}

// keep hands one snapshot to the depot. A feed that is known here keeps its rules.
func keep(ctx context.Context, d *depot.Depot, file string, e Entry, who seal.Who, o Options) (out Imported, err error) {
	r := depot.Rules{Name: e.Name, Kind: e.Kind, MaxAge: e.MaxAge, Shrink: e.Shrink}
	f, ok, err := d.Feed(e.Name)
	if err != nil {
		return out, err
	}
	last, used := f.InUse()
	if ok {
		r.MaxAge, r.Shrink = f.MaxAge, f.Shrink
	}
	a := depot.Arrived{File: file, Source: e.Source, Modified: e.Modified, Fetched: e.Fetched, Checked: e.Checked, Proof: "bundle of " + who.String()}
	if e.Proof != "" {
		a.Proof += ", there: " + e.Proof.Text()
	}
	out.Same = used && last.Digest == e.Digest
	if used && !out.Same && e.Fetched < last.Fetched && !o.Rollback {
		a.Against = []depot.Reason{{Code: depot.CodeBackwards, Text: canon.NoteOf("it was fetched before the one in use")}}
	}
	if out.Kept, err = d.Keep(ctx, r, a, o.Now); err != nil {
		return out, err
	}
	back := func(r depot.Reason) bool { return r.Code == depot.CodeBackwards }
	if k := out.Kept; o.Rollback && k.State == depot.Refused && !slices.ContainsFunc(k.Reasons, func(r depot.Reason) bool { return !back(r) }) {
		if out.Kept, err = d.Accept(ctx, e.Name, k.Digest, "patchwrit feed import --rollback, bundle of "+who.String(), o.Now); err != nil {
			return out, err
		}
	}
	out.Feed, _, err = d.Feed(e.Name)
	return out, err
}
