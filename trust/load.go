package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Limits of the files, which are read whole.
const (
	maxMetadata = 1 << 20        // a root with 1,000 keys has about 200 KB
	maxTarget   = canon.MaxBytes // hosts.json of 200,000 hosts has about 60 MB
	maxRoots    = 128            // a rotation a month for ten years
)

// RoleHosts is the delegated TUF role that signs hosts.json, and nothing else.
const RoleHosts = "hosts"

// Load verifies the trust repository in fsys (layout: docs/design/0001) from
// the pinned SHA-256 of 1.root.json up, and returns what it says. No version
// may be below prev, the versions of the last Root this reader acted on; expiry
// is judged at now. Every error is a refusal.
//
// go-tuf reads the clock in trustedmetadata.New only; that value is replaced by
// now before anything is compared with it. Its logger is a global that discards
// unless a program sets another.
func Load(fsys fs.FS, pinned canon.Digest, prev Versions, now time.Time) (Root, error) {
	l := loader{fsys: fsys, now: now, out: Root{ID: pinned}}
	for _, step := range []func() error{
		l.chain, func() error { return l.out.Versions.forward(prev) }, l.contents,
		l.out.people, l.out.quorums, l.out.reachable, l.out.machines, l.out.rest,
	} {
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
	now  time.Time
	tuf  *trustedmetadata.TrustedMetadata
	out  Root
}

// chain walks root → root … → timestamp → snapshot → targets → hosts. go-tuf
// v2.4.2 follows a nil pointer where JSON says null or a name is missing, in
// part before it checks signatures, and crypto/ed25519 panics on keys of another
// length: a panic in here is a refusal.
func (l *loader) chain() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = refusal.New("PW-TRUST-METADATA", "a null, a missing name or a key of the wrong length: %v", r)
		}
	}()
	if err := l.roots(); err != nil {
		return err
	}
	v := &l.out.Versions
	v.Root = l.tuf.Root.Signed.Version
	if err := l.step("timestamp.json", func(b []byte) error { _, err := l.tuf.UpdateTimestamp(b); return err }); err != nil {
		return err
	}
	v.Timestamp, v.Snapshot = l.tuf.Timestamp.Signed.Version, l.tuf.Timestamp.Signed.Meta["snapshot.json"].Version
	if err := l.step(fmt.Sprintf("%d.snapshot.json", v.Snapshot), func(b []byte) error { _, err := l.tuf.UpdateSnapshot(b, false); return err }); err != nil {
		return err
	}
	if named := slices.Sorted(maps.Keys(l.tuf.Snapshot.Signed.Meta)); !slices.Equal(named, []string{"hosts.json", "targets.json"}) {
		return refusal.New("PW-TRUST-DELEGATION", "the snapshot names %q", named)
	}
	if v.Targets, err = l.delegate(metadata.TARGETS, metadata.ROOT); err != nil {
		return err
	}
	d := l.tuf.Targets[metadata.TARGETS].Signed.Delegations
	if d == nil || len(d.Roles) != 1 || d.Roles[0].Name != RoleHosts || !slices.Equal(d.Roles[0].Paths, []string{"hosts.json"}) {
		return refusal.New("PW-TRUST-DELEGATION", "targets must delegate hosts.json to the role %s, and nothing else", RoleHosts)
	}
	v.Hosts, err = l.delegate(RoleHosts, metadata.TARGETS)
	return err
}

// roots begins with the pinned bytes and goes on to the newest root there is.
func (l *loader) roots() error {
	for n := 1; n <= maxRoots+1; n++ {
		err := l.step(fmt.Sprintf("%d.root.json", n), func(b []byte) error {
			if n == 1 {
				return l.pin(b)
			}
			_, err := l.tuf.UpdateRoot(b)
			return err
		})
		switch code := refusal.CodeOf(err); {
		case n > 1 && errors.Is(err, fs.ErrNotExist):
			return nil
		case n > 1 && (code == "PW-TRUST-SIGNATURE" || code == "PW-TRUST-MIX"):
			return refusal.New("PW-TRUST-ROTATION", "%v", err)
		case err != nil:
			return err
		}
	}
	return refusal.New("PW-TRUST-SIZE", "more than %d roots", maxRoots)
}

// pin takes the only file that is trusted for its bytes.
func (l *loader) pin(b []byte) (err error) {
	if sum := canon.SumFile(b); sum != l.out.ID {
		return refusal.New("PW-TRUST-PIN", "1.root.json is %s, pinned is %q", sum, l.out.ID)
	}
	if l.tuf, err = trustedmetadata.New(b); err != nil {
		return err
	}
	l.tuf.RefTime = l.now
	if v := l.tuf.Root.Signed.Version; v != 1 {
		return refusal.New("PW-TRUST-METADATA", "1.root.json says version %d", v)
	}
	return nil
}

func (l *loader) delegate(role, by string) (version int64, err error) {
	version = l.tuf.Snapshot.Signed.Meta[role+".json"].Version
	return version, l.step(fmt.Sprintf("%d.%s.json", version, role), func(b []byte) error {
		_, err := l.tuf.UpdateDelegatedTargets(b, role, by)
		return err
	})
}

// step feeds one file to go-tuf and gives its errors our codes.
func (l *loader) step(name string, update func([]byte) error) error {
	b, err := l.read(name, maxMetadata)
	if err == nil {
		err = update(b)
	}
	if err == nil || refusal.CodeOf(err) != "" {
		return err
	}
	code := refusal.Code("PW-TRUST-METADATA")
	switch {
	case errors.Is(err, &metadata.ErrUnsignedMetadata{}):
		code = "PW-TRUST-SIGNATURE"
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		code = "PW-TRUST-EXPIRED"
	case errors.Is(err, &metadata.ErrBadVersionNumber{}), errors.Is(err, &metadata.ErrLengthOrHashMismatch{}):
		code = "PW-TRUST-MIX"
	}
	return refusal.New(code, "%s: %v", name, err)
}

// forward holds the versions to those seen before.
func (v Versions) forward(prev Versions) error {
	all := []int64{v.Root, v.Timestamp, v.Snapshot, v.Targets, v.Hosts}
	switch {
	case slices.Min(all) < 1 || slices.Max(all) > canon.MaxInt:
		return refusal.New("PW-TRUST-METADATA", "versions are %+v", v)
	case prev.Newer(v):
		return refusal.New("PW-TRUST-ROLLBACK", "versions are %+v, seen before were %+v", v, prev)
	}
	return nil
}

// target reads a target that the role has signed for.
func (l *loader) target(role, name string) ([]byte, error) {
	info, ok := l.tuf.Targets[role].Signed.Targets[name]
	if !ok || len(info.Hashes["sha256"]) != 32 || info.Length < 0 || info.Length > maxTarget {
		return nil, refusal.New("PW-TRUST-TARGET", "%s names no %s with a SHA-256 and at most %d bytes", role, name, maxTarget)
	}
	sum := canon.Digest(fmt.Sprintf("%x", []byte(info.Hashes["sha256"])))
	b, err := l.read(path.Join("targets", path.Dir(name), string(sum)+"."+path.Base(name)), info.Length)
	if refusal.CodeOf(err) == "PW-TRUST-SIZE" || err == nil && (int64(len(b)) != info.Length || canon.SumFile(b) != sum) {
		return nil, refusal.New("PW-TRUST-TAMPERED", "%s is not the %d bytes with SHA-256 %s", name, info.Length, sum)
	}
	return b, err
}

// read returns a regular file of at most limit bytes.
func (l *loader) read(name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(l.fsys, name)
	if err == nil && !info.Mode().IsRegular() {
		return nil, refusal.New("PW-TRUST-FILE", "%s is no regular file", name)
	}
	f, err := l.fsys.Open(name)
	if err != nil {
		return nil, refusal.New("PW-TRUST-FILE", "%s: %v", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, refusal.New("PW-TRUST-FILE", "%s: %v", name, err)
	case int64(len(b)) > limit:
		return nil, refusal.New("PW-TRUST-SIZE", "%s has more than %d bytes", name, limit)
	}
	return b, nil
}
