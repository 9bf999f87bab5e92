package trust

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

const (
	codeFile       refusal.Code = "PW-TRUST-FILE"
	codeSize       refusal.Code = "PW-TRUST-SIZE"
	codePin        refusal.Code = "PW-TRUST-PIN"
	codeMetadata   refusal.Code = "PW-TRUST-METADATA"
	codeRotation   refusal.Code = "PW-TRUST-ROTATION"
	codeSignature  refusal.Code = "PW-TRUST-SIGNATURE"
	codeExpired    refusal.Code = "PW-TRUST-EXPIRED"
	codeRollback   refusal.Code = "PW-TRUST-ROLLBACK"
	codeMix        refusal.Code = "PW-TRUST-MIX"
	codeDelegation refusal.Code = "PW-TRUST-DELEGATION"
	codeTarget     refusal.Code = "PW-TRUST-TARGET"
	codeTampered   refusal.Code = "PW-TRUST-TAMPERED"
)

// Limits of the files. Everything is read whole, so nothing may be endless.
const (
	maxMetadata = 1 << 20        // a root with 1,000 keys has about 200 KB
	maxTarget   = canon.MaxBytes // hosts.json of 200,000 hosts has about 60 MB
	maxRoots    = 1000           // a rotation a week for 19 years
)

// RoleHosts is the delegated role that signs hosts.json, and nothing else.
const RoleHosts = "hosts"

// DemoField is the member of root.json's signed part that marks a house whose
// keepers' keys were made beside the control plane.
const DemoField = "x_patchwrit_demo"

// Load verifies the trust repository in fsys (layout: docs/design/0001) from
// the pinned SHA-256 of 1.root.json up, and returns what it says. No version
// may be below prev, the versions of the last Root that this reader acted on.
// Expiry is judged at now. Every error is a refusal.
//
// go-tuf reads the clock once, in trustedmetadata.New; that value is replaced
// by now before anything is compared with it. Its logger is the global one of
// go-tuf, which discards unless a program sets another.
func Load(fsys fs.FS, pinned canon.Digest, prev Versions, now time.Time) (Root, error) {
	l := loader{fsys: fsys, prev: prev}
	steps := []func() error{
		func() error { return l.pin(pinned, now) },
		l.rotate, l.timestamp, l.snapshot, l.targets, l.hosts, l.keepers, l.contents,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return Root{}, err
		}
	}
	l.out.loaded = true
	return l.out, nil
}

// loader is one run of Load.
type loader struct {
	fsys fs.FS
	prev Versions
	tuf  *trustedmetadata.TrustedMetadata
	out  Root
}

// pin reads 1.root.json, the only file that is trusted for its bytes.
func (l *loader) pin(pinned canon.Digest, now time.Time) error {
	b, err := l.read("1.root.json", maxMetadata)
	if err != nil {
		return err
	}
	if sum := canon.SumFile(b); sum != pinned {
		return refusal.New(codePin, "1.root.json is %s, pinned is %q", sum, pinned)
	}
	if err := sound(b, "1.root.json"); err != nil {
		return err
	}
	if l.tuf, err = trustedmetadata.New(b); err != nil {
		return because(err, "1.root.json")
	}
	l.tuf.RefTime = now
	if v := l.tuf.Root.Signed.Version; v != 1 {
		return refusal.New(codeMetadata, "1.root.json says version %d", v)
	}
	l.out.ID = pinned
	return nil
}

// rotate walks from root to root; each is signed by the threshold of the one
// before and by its own, and has the next number.
func (l *loader) rotate() error {
	for n := 2; ; n++ {
		name := fmt.Sprintf("%d.root.json", n)
		b, err := l.read(name, maxMetadata)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err == nil && n > maxRoots {
			err = refusal.New(codeSize, "more than %d roots", maxRoots)
		}
		if err == nil {
			err = sound(b, name)
		}
		if err != nil {
			return err
		}
		if _, err := l.tuf.UpdateRoot(b); err != nil {
			if unsigned, number := new(metadata.ErrUnsignedMetadata), new(metadata.ErrBadVersionNumber); errors.As(err, &unsigned) || errors.As(err, &number) {
				return refusal.New(codeRotation, "%s: %v", name, err)
			}
			return because(err, name)
		}
	}
	root := l.tuf.Root.Signed
	l.out.Versions.Root = root.Version
	if !root.ConsistentSnapshot {
		return refusal.New(codeMetadata, "root without consistent snapshots")
	}
	return l.forward(metadata.ROOT, root.Version, l.prev.Root)
}

func (l *loader) timestamp() error {
	b, err := l.metadata("timestamp.json")
	if err != nil {
		return err
	}
	t, err := l.tuf.UpdateTimestamp(b)
	if err != nil {
		return because(err, "timestamp.json")
	}
	l.out.Versions.Timestamp = t.Signed.Version
	if err := names(t.Signed.Meta, codeMetadata, "timestamp.json", "snapshot.json"); err != nil {
		return err
	}
	return l.forward(metadata.TIMESTAMP, t.Signed.Version, l.prev.Timestamp)
}

func (l *loader) snapshot() error {
	name := fmt.Sprintf("%d.snapshot.json", l.tuf.Timestamp.Signed.Meta["snapshot.json"].Version)
	b, err := l.metadata(name)
	if err != nil {
		return err
	}
	s, err := l.tuf.UpdateSnapshot(b, false)
	if err != nil {
		return because(err, name)
	}
	l.out.Versions.Snapshot = s.Signed.Version
	if err := names(s.Signed.Meta, codeDelegation, name, "hosts.json", "targets.json"); err != nil {
		return err
	}
	return l.forward(metadata.SNAPSHOT, s.Signed.Version, l.prev.Snapshot)
}

func (l *loader) targets() error {
	t, err := l.delegate(metadata.TARGETS, metadata.ROOT)
	if err != nil {
		return err
	}
	l.out.Versions.Targets = t.Signed.Version
	if err := onlyHosts(t.Signed.Delegations); err != nil {
		return err
	}
	return l.forward(metadata.TARGETS, t.Signed.Version, l.prev.Targets)
}

func (l *loader) hosts() error {
	t, err := l.delegate(RoleHosts, metadata.TARGETS)
	if err != nil {
		return err
	}
	l.out.Versions.Hosts = t.Signed.Version
	if t.Signed.Delegations != nil {
		return refusal.New(codeDelegation, "%s delegates further", RoleHosts)
	}
	if err := names(t.Signed.Targets, codeTarget, RoleHosts, "hosts.json"); err != nil {
		return err
	}
	return l.forward(RoleHosts, t.Signed.Version, l.prev.Hosts)
}

func (l *loader) delegate(role, by string) (*metadata.Metadata[metadata.TargetsType], error) {
	name := fmt.Sprintf("%d.%s.json", l.tuf.Snapshot.Signed.Meta[role+".json"].Version, role)
	b, err := l.metadata(name)
	if err != nil {
		return nil, err
	}
	t, err := l.tuf.UpdateDelegatedTargets(b, role, by)
	if err != nil {
		return nil, because(err, name)
	}
	return t, nil
}

// onlyHosts wants exactly one delegation, of exactly hosts.json: whoever signs
// for hosts can never speak about people.
func onlyHosts(d *metadata.Delegations) error {
	if d == nil || d.SuccinctRoles != nil || len(d.Roles) != 1 {
		return refusal.New(codeDelegation, "targets must delegate once, to %s", RoleHosts)
	}
	r := d.Roles[0]
	if r.Name != RoleHosts || len(r.PathHashPrefixes) > 0 || !slices.Equal(r.Paths, []string{"hosts.json"}) {
		return refusal.New(codeDelegation, "role %q for %q", r.Name, r.Paths)
	}
	return checkKeys(d.Keys)
}

// forward holds a role's version to what this reader had seen.
func (l *loader) forward(role string, version, seen int64) error {
	switch {
	case version < seen:
		return refusal.New(codeRollback, "%s is version %d, version %d was seen before", role, version, seen)
	case version < 1 || version > canon.MaxInt:
		return refusal.New(codeMetadata, "%s is version %d", role, version)
	}
	return nil
}

func (l *loader) keepers() error {
	root := l.tuf.Root.Signed
	role := root.Roles[metadata.ROOT]
	l.out.Keepers = Keepers{Threshold: role.Threshold, Keys: slices.Sorted(slices.Values(role.KeyIDs))}
	l.out.Demo = root.UnrecognizedFields[DemoField] == true
	ends := []time.Time{root.Expires, l.tuf.Timestamp.Signed.Expires, l.tuf.Snapshot.Signed.Expires}
	for _, t := range l.tuf.Targets {
		ends = append(ends, t.Signed.Expires)
	}
	l.out.Expires = slices.MinFunc(ends, time.Time.Compare).Unix()
	return nil
}

// target reads a target that role has signed for and checks its length and
// SHA-256.
func (l *loader) target(role, name string) ([]byte, error) {
	info, ok := l.tuf.Targets[role].Signed.Targets[name]
	if !ok {
		return nil, refusal.New(codeTarget, "%s does not name %s", role, name)
	}
	sum := canon.Digest(fmt.Sprintf("%x", []byte(info.Hashes["sha256"])))
	if !sum.Valid() || info.Length < 0 || info.Length > maxTarget {
		return nil, refusal.New(codeTarget, "%s: %d bytes, SHA-256 %q", name, info.Length, sum)
	}
	b, err := l.read(path.Join("targets", path.Dir(name), string(sum)+"."+path.Base(name)), info.Length)
	if code := refusal.CodeOf(err); code == codeSize {
		return nil, refusal.New(codeTampered, "%s is longer than the %d bytes signed for", name, info.Length)
	}
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != info.Length || canon.SumFile(b) != sum {
		return nil, refusal.New(codeTampered, "%s has %d bytes and SHA-256 %s, signed for are %d and %s", name, len(b), canon.SumFile(b).Short(), info.Length, sum.Short())
	}
	return b, nil
}

// metadata reads a TUF file and refuses what go-tuf would stumble over.
func (l *loader) metadata(name string) ([]byte, error) {
	b, err := l.read(name, maxMetadata)
	if err != nil {
		return nil, err
	}
	return b, plain(b, name)
}

// read returns a regular file of at most limit bytes.
func (l *loader) read(name string, limit int64) ([]byte, error) {
	f, err := l.fsys.Open(name)
	if err != nil {
		return nil, refusal.New(codeFile, "%s: %v", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, refusal.New(codeFile, "%s is no regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, refusal.New(codeFile, "%s: %v", name, err)
	}
	if int64(len(b)) > limit {
		return nil, refusal.New(codeSize, "%s has more than %d bytes", name, limit)
	}
	return b, nil
}

// plain refuses JSON with a null in it: go-tuf v2.4.2 would use the nil pointer
// that becomes of it, in part before any signature is checked.
func plain(b []byte, name string) error {
	d := json.NewDecoder(strings.NewReader(string(b)))
	for {
		token, err := d.Token()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return refusal.New(codeMetadata, "%s: %v", name, err)
		case token == nil:
			return refusal.New(codeMetadata, "%s holds a null", name)
		}
	}
}

// sound refuses a root whose keys go-tuf would stumble over.
func sound(b []byte, name string) error {
	if err := plain(b, name); err != nil {
		return err
	}
	m, err := new(metadata.Metadata[metadata.RootType]).FromBytes(b)
	if err != nil {
		return because(err, name)
	}
	return checkKeys(m.Signed.Keys)
}

// checkKeys allows Ed25519 and ECDSA on P-256 and P-384. crypto/ed25519 panics on a key of another
// length, and go-tuf does not look.
func checkKeys(keys map[string]*metadata.Key) error {
	for id, k := range keys {
		edwards := k.Type == metadata.KeyTypeEd25519 && k.Scheme == metadata.KeySchemeEd25519 && canon.Hex(k.Value.PublicKey, 32)
		nist := (k.Type == metadata.KeyTypeECDSA_SHA2_P256 || k.Type == metadata.KeyTypeECDSA_SHA2_P256_COMPAT) &&
			(k.Scheme == metadata.KeySchemeECDSA_SHA2_P256 || k.Scheme == metadata.KeySchemeECDSA_SHA2_P384)
		if !edwards && !nist {
			return refusal.New(codeMetadata, "key %q is of type %q, scheme %q", id, k.Type, k.Scheme)
		}
	}
	return nil
}

// names wants exactly these names in a map of metadata or targets.
func names[V any](got map[string]V, code refusal.Code, where string, want ...string) error {
	if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, want) {
		return refusal.New(code, "%s names %q, wanted is %q", where, have, want)
	}
	return nil
}

// because gives go-tuf's refusals our codes.
func because(err error, name string) error {
	code := codeMetadata
	if e := new(metadata.ErrUnsignedMetadata); errors.As(err, &e) {
		code = codeSignature
	}
	if e := new(metadata.ErrExpiredMetadata); errors.As(err, &e) {
		code = codeExpired
	}
	if e := new(metadata.ErrBadVersionNumber); errors.As(err, &e) {
		code = codeMix
	}
	if e := new(metadata.ErrLengthOrHashMismatch); errors.As(err, &e) {
		code = codeMix
	}
	return refusal.New(code, "%s: %v", name, err)
}

// ascending wants a list strictly ascending by its keys, so that one content
// has one encoding and nothing stands twice.
func ascending[T any, K cmp.Ordered](list []T, key func(T) K) bool {
	for i := 1; i < len(list); i++ {
		if key(list[i-1]) >= key(list[i]) {
			return false
		}
	}
	return true
}

func all[T any](list []T, good func(T) bool) bool {
	return !slices.ContainsFunc(list, func(t T) bool { return !good(t) })
}
