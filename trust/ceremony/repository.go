// Package ceremony makes and signs trust repositories: the first one of a
// house, and every later version of it.
//
// The parties: the root keepers, k of n, hold Ed25519 keys offline and decide;
// whoever runs the ceremony brings their keys together on a machine that is not
// the control plane; hosts, witnesses and auditors load the result (room trust).
// Anyone may carry the files.
//
// The promise: nothing is written that package trust would refuse, no version
// goes down, and a crash at any moment leaves a repository that loads, the old
// one or the new one.
//
// It keeps no key, and it cannot tell whether a keeper's key is really kept
// offline. Ceremonies with hardware keys, or with keepers who never meet, may
// use any TUF tool: the layout is TUF's own, with consistent snapshots.
package ceremony

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/trust"
)

// Contents is everything that a trust repository says. Lists may come in any
// order.
type Contents struct {
	People    []trust.Person
	Solo      bool
	Quorums   []trust.Quorum
	Hosts     []trust.Host
	Origins   []trust.Origin
	Keyrings  map[string][]byte // by the name that origins use
	Critical  change.List
	Policy    trust.Policy // Bundle and Key, or the zero Policy: none is pinned yet
	Witnesses string       // witness.policy
}

// ContentsOf returns what a loaded root says, to be changed and signed again.
func ContentsOf(r trust.Root) Contents {
	return Contents{
		People: slices.Clone(r.People), Solo: r.Solo, Quorums: slices.Clone(r.Quorums), Hosts: slices.Clone(r.Hosts),
		Origins: slices.Clone(r.Origins), Keyrings: maps.Clone(r.Keyrings), Critical: r.Critical, Policy: r.Policy, Witnesses: r.Witnesses,
	}
}

// top encodes the targets that the keepers sign for.
func (c Contents) top() (map[string][]byte, error) {
	c.Policy.Type = trust.TypePolicy
	out := map[string][]byte{"witness.policy": []byte(c.Witnesses)}
	for name, ring := range c.Keyrings {
		out["keyrings/"+name] = ring
	}
	for name, v := range map[string]any{
		"roster.json":     trust.Roster{Type: trust.TypeRoster, People: sorted(c.People, tidyPerson, func(p trust.Person) trust.PersonID { return p.ID })},
		"thresholds.json": trust.Thresholds{Type: trust.TypeThresholds, Solo: c.Solo, Quorums: sorted(c.Quorums, tidyQuorum, func(q trust.Quorum) string { return q.For })},
		"origins.json":    trust.Origins{Type: trust.TypeOrigins, Origins: sorted(c.Origins, tidyOrigin, func(o trust.Origin) change.Origin { return o.ID })},
		"critical.json":   trust.Critical{Type: trust.TypeCritical, List: change.List{Packages: filled(c.Critical.Packages), Paths: filled(c.Critical.Paths), Grants: filled(c.Critical.Grants)}},
		"policy.json":     c.Policy,
	} {
		b, err := canon.Encode(v)
		if err != nil {
			return nil, fmt.Errorf("%s cannot be written: %w", name, err)
		}
		out[name] = b
	}
	return out, nil
}

// delegated encodes the target that the hosts role signs for.
func (c Contents) delegated() (map[string][]byte, error) {
	b, err := canon.Encode(trust.Hosts{Type: trust.TypeHosts, Hosts: sorted(c.Hosts, tidyHost, func(h trust.Host) trust.HostID { return h.ID })})
	if err != nil {
		return nil, fmt.Errorf("hosts.json cannot be written: %w", err)
	}
	return map[string][]byte{"hosts.json": b}, nil
}

func tidyPerson(p trust.Person) trust.Person {
	p.Roles = sorted(p.Roles, same, same)
	p.Credentials = sorted(p.Credentials, func(c trust.Credential) trust.Credential {
		c.Origins = filled(c.Origins)
		return c
	}, func(c trust.Credential) canon.Digest { return c.ID })
	return p
}

func tidyQuorum(q trust.Quorum) trust.Quorum {
	q.Roles = sorted(q.Roles, func(n trust.RoleNeed) trust.RoleNeed { return n }, func(n trust.RoleNeed) string { return n.Role })
	return q
}

func tidyOrigin(o trust.Origin) trust.Origin {
	o.Suites, o.Sections = filled(o.Suites), filled(o.Sections)
	return o
}

func tidyHost(h trust.Host) trust.Host {
	h.Labels = sorted(h.Labels, func(l trust.Label) trust.Label { return l }, func(l trust.Label) string { return l.Key })
	return h
}

func same(s string) string { return s }

// filled is the list, never nil: canonical bytes know no absent list.
func filled[T any](list []T) []T { return append([]T{}, list...) }

// sorted is a tidied copy of the list in ascending order of its keys, never nil.
func sorted[T any, K cmp.Ordered](list []T, tidy func(T) T, key func(T) K) []T {
	out := make([]T, 0, len(list))
	for _, t := range list {
		out = append(out, tidy(t))
	}
	slices.SortStableFunc(out, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	return out
}

// Life is how long signatures hold, from Signing.Now. Freshness comes from the
// witnesses' leases, so both are long.
type Life struct {
	Root time.Duration // root.json; zero: DefaultRootLife
	Rest time.Duration // timestamp, snapshot, targets and hosts; zero: DefaultLife
}

// Default lives of signatures.
const (
	DefaultRootLife = 5 * 365 * 24 * time.Hour
	DefaultLife     = 2 * 365 * 24 * time.Hour
)

// Signing is who signs, and when.
type Signing struct {
	Pinned canon.Digest    // SHA-256 of the house's 1.root.json: which house is signed for; empty only for a new one
	Keys   []crypto.Signer // the keepers' Ed25519 keys, at least the threshold
	Now    time.Time
	Life   Life

	// Harmless says why rules in force may become weaker, or nil when it is shown
	// that they do not. Asked when fewer than two keepers sign for other rules; nil:
	// nothing is shown.
	Harmless func(old, now trust.Policy) error
}

func (s Signing) rootEnd() time.Time {
	return s.Now.Add(cmp.Or(s.Life.Root, DefaultRootLife)).UTC().Truncate(time.Second)
}

func (s Signing) end() time.Time {
	return s.Now.Add(cmp.Or(s.Life.Rest, DefaultLife)).UTC().Truncate(time.Second)
}

// Keepers is who may sign: Threshold of Keys.
type Keepers struct {
	Threshold int
	Keys      []ed25519.PublicKey
}

func (k Keepers) valid() error {
	if k.Threshold < 1 || k.Threshold > len(k.Keys) {
		return fmt.Errorf("%d of %d keepers cannot be: name at least one keeper, and a threshold between 1 and their number", k.Threshold, len(k.Keys))
	}
	seen := map[string]bool{}
	for _, key := range k.Keys {
		if len(key) != ed25519.PublicKeySize || seen[string(key)] {
			return fmt.Errorf("keeper's key %x is no Ed25519 key, or stands twice", []byte(key))
		}
		seen[string(key)] = true
	}
	return nil
}

// Files is a set of repository files by path. It is an fs.FS.
type Files map[string][]byte

// Found makes the files of a new repository, version 1 of everything, and
// returns the digest that readers must pin. Demo marks the repository as one
// whose keepers' keys lie beside the control plane.
func Found(c Contents, k Keepers, demo bool, s Signing) (Files, canon.Digest, error) {
	if err := k.valid(); err != nil {
		return nil, "", err
	}
	w := writer{s: s, out: Files{}, next: trust.Versions{Root: 1, Timestamp: 1, Snapshot: 1, Targets: 1, Hosts: 1}}
	if err := w.newRoot(k, demo); err != nil {
		return nil, "", err
	}
	if err := w.all(c, true, true); err != nil {
		return nil, "", err
	}
	pinned := canon.SumFile(w.out["1.root.json"])
	if _, err := trust.Load(w.out, pinned, trust.Versions{}, s.Now); err != nil {
		return nil, "", fmt.Errorf("hosts would refuse this repository, so it was not made: %w", err)
	}
	return w.out, pinned, nil
}

// writer makes the next version of a repository.
type writer struct {
	s      Signing
	out    Files
	next   trust.Versions
	root   *metadata.Metadata[metadata.RootType]
	former []string // key ids of the keepers before a rotation: they sign along
	apart  bool     // keepers sign one after the other: files are named by version alone

	base fs.FS      // the repository as it is; nil for a new one
	old  trust.Root // what base says
}

// newRoot makes a root that gives every role to the same keepers.
func (w *writer) newRoot(k Keepers, demo bool) error {
	root := metadata.Root(w.s.rootEnd())
	root.Signed.Version = w.next.Root
	if demo {
		root.Signed.UnrecognizedFields = map[string]any{DemoField: true}
	}
	for _, public := range k.Keys {
		key, err := metadata.KeyFromPublicKey(public)
		if err != nil {
			return err
		}
		for role := range root.Signed.Roles {
			if err := root.Signed.AddKey(key, role); err != nil {
				return err
			}
		}
	}
	for _, role := range root.Signed.Roles {
		role.Threshold = k.Threshold
	}
	w.root = root
	return sign(w, root, fmt.Sprintf("%d.root.json", w.next.Root), root.Signed.Roles[metadata.ROOT].KeyIDs)
}

// all writes what has changed, and always a new snapshot and timestamp.
func (w *writer) all(c Contents, top, hosts bool) error {
	above, below, err := c.encode()
	if err != nil {
		return err
	}
	if !top {
		above = nil
	}
	if !hosts {
		below = nil
	}
	return w.bodies(above, below)
}

// bodies writes the targets of each role that has any.
func (w *writer) bodies(top, hosts map[string][]byte) error {
	if top != nil {
		if err := w.targets(metadata.TARGETS, w.next.Targets, top); err != nil {
			return err
		}
	}
	if hosts != nil {
		if err := w.targets(trust.RoleHosts, w.next.Hosts, hosts); err != nil {
			return err
		}
	}
	return w.seal()
}

// seal writes snapshot and timestamp over everything else, by version, length
// and SHA-256: a file left over from a ceremony that broke off, signed though
// it is, can never stand in for the one that was meant. Keepers who sign apart
// cannot know a file's bytes before the last of them has signed: see Stage.
func (w *writer) seal() error {
	snapshot := metadata.Snapshot(w.s.end())
	snapshot.Signed.Version = w.next.Snapshot
	for role, version := range map[string]int64{metadata.TARGETS: w.next.Targets, trust.RoleHosts: w.next.Hosts} {
		info, err := w.info(fmt.Sprintf("%d.%s.json", version, role), version)
		if err != nil {
			return err
		}
		snapshot.Signed.Meta[role+".json"] = info
	}
	name := fmt.Sprintf("%d.snapshot.json", w.next.Snapshot)
	if err := sign(w, snapshot, name, w.root.Signed.Roles[metadata.SNAPSHOT].KeyIDs); err != nil {
		return err
	}
	timestamp := metadata.Timestamp(w.s.end())
	timestamp.Signed.Version = w.next.Timestamp
	info, err := w.info(name, w.next.Snapshot)
	if err != nil {
		return err
	}
	timestamp.Signed.Meta["snapshot.json"] = info
	return sign(w, timestamp, "timestamp.json", w.root.Signed.Roles[metadata.TIMESTAMP].KeyIDs)
}

// info describes a metadata file, new or there already.
func (w *writer) info(name string, version int64) (*metadata.MetaFiles, error) {
	b, ok := w.out[name]
	if !ok {
		var err error
		if b, err = fs.ReadFile(w.base, name); err != nil {
			return nil, err
		}
	}
	info := metadata.MetaFile(version)
	if w.apart {
		return info, nil
	}
	info.Length, info.Hashes = int64(len(b)), metadata.Hashes{"sha256": canon.SumFile(b).Bytes()}
	return info, nil
}

// targets writes target files and the metadata of the role that signs for them.
// The keepers are the hosts role too.
func (w *writer) targets(role string, version int64, body map[string][]byte) error {
	t := metadata.Targets(w.s.end())
	t.Signed.Version = version
	for name, b := range body {
		info, err := metadata.TargetFile().FromBytes(name, b, "sha256")
		if err != nil {
			return err
		}
		t.Signed.Targets[name] = info
		w.out[path.Join("targets", path.Dir(name), string(canon.SumFile(b))+"."+path.Base(name))] = b
	}
	keepers := w.root.Signed.Roles[metadata.TARGETS]
	if role == metadata.TARGETS {
		t.Signed.Delegations = &metadata.Delegations{Keys: w.root.Signed.Keys, Roles: []metadata.DelegatedRole{{
			Name: trust.RoleHosts, KeyIDs: keepers.KeyIDs, Threshold: keepers.Threshold, Terminating: true, Paths: []string{"hosts.json"},
		}}}
	}
	return sign(w, t, fmt.Sprintf("%d.%s.json", version, role), keepers.KeyIDs)
}

// sign adds the signatures of every key at hand that belongs to the role, or
// did before a rotation, and stores the file.
func sign[T metadata.Roles](w *writer, m *metadata.Metadata[T], name string, role []string) error {
	for _, key := range w.s.Keys {
		id, err := keyID(key.Public())
		if err != nil {
			return err
		}
		if !slices.Contains(role, id) && !slices.Contains(w.former, id) {
			continue
		}
		if _, err := m.Sign(tufSigner{key}); err != nil {
			return err
		}
	}
	b, err := m.ToBytes(false)
	w.out[name] = b
	return err
}

func keyID(public crypto.PublicKey) (string, error) {
	edwards, ok := public.(ed25519.PublicKey)
	if !ok {
		return "", fmt.Errorf("a keeper's key must be Ed25519, this one is %T", public)
	}
	key, err := metadata.KeyFromPublicKey(edwards)
	if err != nil {
		return "", err
	}
	return key.ID()
}

// tufSigner lets go-tuf sign with any crypto.Signer.
type tufSigner struct{ key crypto.Signer }

func (t tufSigner) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return t.key.Public(), nil
}

func (t tufSigner) SignMessage(message io.Reader, _ ...signature.SignOption) ([]byte, error) {
	b, err := io.ReadAll(message)
	if err != nil {
		return nil, err
	}
	return t.key.Sign(nil, b, crypto.Hash(0))
}

// Open opens one of the files for reading.
func (f Files) Open(name string) (fs.File, error) {
	b, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{name: path.Base(name), size: int64(len(b)), rest: b}, nil
}

// file is an open member of Files, and its own fs.FileInfo.
type file struct {
	name string
	size int64
	rest []byte
}

func (f *file) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func (f *file) Stat() (fs.FileInfo, error) { return f, nil }
func (f *file) Close() error               { return nil }
func (f *file) Name() string               { return f.name }
func (f *file) Size() int64                { return f.size }
func (f *file) Mode() fs.FileMode          { return 0o444 }
func (f *file) ModTime() time.Time         { return time.Time{} }
func (f *file) IsDir() bool                { return false }
func (f *file) Sys() any                   { return nil }

// DemoField is the member of root.json's signed part that marks a house whose
// keepers' keys were made beside the control plane.
const DemoField = "x_patchwrit_demo"
