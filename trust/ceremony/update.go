package ceremony

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// ErrNothing says that there is nothing to sign: the contents are the same.
var ErrNothing = errors.New("nothing has changed, so nothing was signed")

// Done is what a ceremony has left on the disk.
type Done struct {
	Pinned canon.Digest // SHA-256 of 1.root.json: what readers pin
	Root   trust.Root   // as readers will load it
	Files  []string     // written, in this order
}

// Update changes the contents of the repository in dir and signs the next
// version. An expired repository may be updated. It is refused, and nothing is
// written, when readers would refuse the result.
func Update(dir string, s Signing, edit func(*Contents) error) (Done, error) {
	w, err := open(os.DirFS(dir), s)
	if err != nil {
		return Done{}, err
	}
	if err := w.enough(w.root, "keepers"); err != nil {
		return Done{}, err
	}
	return w.update(dir, edit)
}

// Renew signs the same contents again, with new ends. The root keeps its own:
// RotateRoot to the same keepers renews that.
func Renew(dir string, s Signing) (Done, error) {
	w, err := open(os.DirFS(dir), s)
	if err != nil {
		return Done{}, err
	}
	if err := w.enough(w.root, "keepers"); err != nil {
		return Done{}, err
	}
	if err := w.all(ContentsOf(w.old), true, true); err != nil {
		return Done{}, err
	}
	return w.write(dir)
}

// AddHost enters a machine.
func AddHost(dir string, s Signing, h trust.Host) (Done, error) {
	return Update(dir, s, func(c *Contents) error { return c.Enter(h) })
}

// Enter enters a machine.
func (c *Contents) Enter(h trust.Host) error {
	if slices.ContainsFunc(c.Hosts, func(have trust.Host) bool { return have.ID == h.ID }) {
		return fmt.Errorf("host %s is there already", h.ID.Short())
	}
	c.Hosts = append(c.Hosts, h)
	return nil
}

// SetRoster replaces the people.
func SetRoster(dir string, s Signing, people []trust.Person) (Done, error) {
	return Update(dir, s, func(c *Contents) error {
		c.People = people
		return nil
	})
}

// RevokeCredential ends a key's word for ever; it stays in the roster, so that
// old signatures can still be told apart. Where the people left cannot meet a
// threshold it is refused: enter another key in the same Update.
func RevokeCredential(dir string, s Signing, id canon.Digest) (Done, error) {
	return Update(dir, s, func(c *Contents) error { return c.Revoke(id) })
}

// Revoke marks a credential as revoked.
func (c *Contents) Revoke(id canon.Digest) error {
	for i, p := range c.People {
		for j := range p.Credentials {
			if p.Credentials[j].ID == id {
				c.People[i].Credentials = slices.Clone(p.Credentials)
				c.People[i].Credentials[j].Revoked = true
				return nil
			}
		}
	}
	return fmt.Errorf("no credential %s in the roster", id.Short())
}

// Join enters a person, or another key and role of one.
func (c *Contents) Join(p trust.Person) error {
	i := slices.IndexFunc(c.People, func(have trust.Person) bool { return have.ID == p.ID })
	if i < 0 {
		c.People = append(c.People, p)
		return nil
	}
	have := c.People[i]
	have.Roles = slices.Clone(have.Roles)
	for _, role := range p.Roles {
		if !slices.Contains(have.Roles, role) {
			have.Roles = append(have.Roles, role)
		}
	}
	have.Credentials = append(slices.Clone(have.Credentials), p.Credentials...)
	c.People[i] = have
	return nil
}

// SetWitnesses replaces the witness policy.
func SetWitnesses(dir string, s Signing, policy string) (Done, error) {
	return Update(dir, s, func(c *Contents) error {
		c.Witnesses = policy
		return nil
	})
}

// SetPolicy pins a policy bundle by the SHA-256 of its file and the PEM of the
// public key that signed it.
func SetPolicy(dir string, s Signing, bundle canon.Digest, key []byte) (Done, error) {
	return Update(dir, s, func(c *Contents) error {
		c.Policy = trust.Policy{Bundle: bundle, Key: string(canon.NoteOf(string(key)))}
		return nil
	})
}

// RotateRoot hands the house to other keepers, or to the same ones with another
// threshold or a new end. The threshold of the old keepers and the threshold of
// the new ones must sign, so s.Keys holds keys of both. A demo's mark stays
// until all its keepers are replaced at once.
func RotateRoot(dir string, s Signing, k Keepers) (Done, error) {
	if err := k.valid(); err != nil {
		return Done{}, err
	}
	w, err := open(os.DirFS(dir), s)
	if err != nil {
		return Done{}, err
	}
	if err := w.enough(w.root, "old keepers"); err != nil {
		return Done{}, err
	}
	if err := w.rotate(k); err != nil {
		return Done{}, err
	}
	if err := w.enough(w.root, "new keepers"); err != nil {
		return Done{}, err
	}
	if err := w.all(ContentsOf(w.old), true, true); err != nil {
		return Done{}, err
	}
	return w.write(dir)
}

// rotate writes the root of other keepers.
func (w *writer) rotate(k Keepers) error {
	before := w.root
	w.former = before.Signed.Roles[metadata.ROOT].KeyIDs
	w.next.Root++
	demo := before.Signed.UnrecognizedFields[DemoField] == true && stays(before, k)
	return w.newRoot(k, demo)
}

// stays reports whether a keeper of the old root is one of the new.
func stays(before *metadata.Metadata[metadata.RootType], k Keepers) bool {
	return slices.ContainsFunc(k.Keys, func(key ed25519.PublicKey) bool {
		id, err := keyID(key)
		return err != nil || slices.Contains(before.Signed.Roles[metadata.ROOT].KeyIDs, id)
	})
}

// open verifies what is there, whatever its age, and prepares the next version.
func open(base fs.FS, s Signing) (*writer, error) {
	old, err := trust.Load(base, s.Pinned, trust.Versions{}, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("the repository to be changed: %w", err)
	}
	raw, err := fs.ReadFile(base, fmt.Sprintf("%d.root.json", old.Versions.Root))
	if err != nil {
		return nil, err
	}
	root, err := new(metadata.Metadata[metadata.RootType]).FromBytes(raw)
	if err != nil {
		return nil, err
	}
	w := &writer{s: s, base: base, old: old, root: root, out: Files{}, next: old.Versions}
	for _, n := range []*int64{&w.next.Timestamp, &w.next.Snapshot, &w.next.Targets, &w.next.Hosts} {
		*n++
	}
	return w, nil
}

// enough says which keepers are missing, before anything is signed.
func (w *writer) enough(root *metadata.Metadata[metadata.RootType], who string) error {
	role, have := root.Signed.Roles[metadata.ROOT], map[string]bool{}
	for _, key := range w.s.Keys {
		id, err := keyID(key.Public())
		if err != nil {
			return err
		}
		if slices.Contains(role.KeyIDs, id) {
			have[id] = true
		}
	}
	if len(have) < role.Threshold {
		return fmt.Errorf("%d of the %s must sign, out of %d; only %d of the keys given are theirs", role.Threshold, who, len(role.KeyIDs), len(have))
	}
	return nil
}

// update signs whatever the edit has changed.
func (w *writer) update(dir string, edit func(*Contents) error) (Done, error) {
	c := ContentsOf(w.old)
	top, hosts, err := c.encode() // before the edit, which may reach into c's lists
	if err != nil {
		return Done{}, err
	}
	if err := edit(&c); err != nil {
		return Done{}, err
	}
	newTop, newHosts, err := c.encode()
	if err != nil {
		return Done{}, err
	}
	if top, hosts = changed(top, newTop), changed(hosts, newHosts); top == nil && hosts == nil {
		return Done{}, ErrNothing
	}
	w.keep(top, hosts)
	if err := w.bodies(top, hosts); err != nil {
		return Done{}, err
	}
	return w.write(dir)
}

// changed is the new targets of a role, or nil when they are the old ones.
func changed(old, now map[string][]byte) map[string][]byte {
	if maps.EqualFunc(old, now, bytes.Equal) {
		return nil
	}
	return now
}

// keep leaves the version of a role that does not change.
func (w *writer) keep(top, hosts map[string][]byte) {
	if top == nil {
		w.next.Targets = w.old.Versions.Targets
	}
	if hosts == nil {
		w.next.Hosts = w.old.Versions.Hosts
	}
}

// encode gives the targets of both roles.
func (c Contents) encode() (top, hosts map[string][]byte, err error) {
	if top, err = c.top(); err != nil {
		return nil, nil, err
	}
	hosts, err = c.delegated()
	return top, hosts, err
}

// write shows the result to trust.Load, over what is there, and only then
// writes it.
func (w *writer) write(dir string) (Done, error) {
	root, err := trust.Load(over{w.base, w.out}, w.s.Pinned, w.old.Versions, w.s.Now)
	if err != nil {
		return Done{}, fmt.Errorf("readers would refuse the result, so nothing was written: %w", err)
	}
	if err := w.rules(root); err != nil {
		return Done{}, err
	}
	order := w.out.order()
	if err := writeFiles(dir, w.out, order); err != nil {
		return Done{}, err
	}
	return Done{Pinned: w.s.Pinned, Root: root, Files: order}, nil
}

// CodeWeaker is the refusal of rules that are, or may be, weaker than those in
// force and have fewer than two keepers behind them.
const CodeWeaker refusal.Code = "PW-POLICY-WEAKER"

// WeakerSigners is how many distinct keepers must sign for rules that are not
// shown to be as strict as those before, whatever the house's threshold.
const WeakerSigners = 2

// rules holds a change of the rules to that number. The first rules of a house
// change nothing; taking rules away counts as a change.
func (w *writer) rules(next trust.Root) error {
	old := w.old.Policy
	if old.Bundle == "" || next.Policy.Bundle == old.Bundle {
		return nil
	}
	n, err := Signers(over{w.base, w.out}, next)
	if err != nil || n >= WeakerSigners {
		return err
	}
	why := errors.New("nothing shows that they are not weaker than those in force")
	if w.s.Harmless != nil {
		if why = w.s.Harmless(old, next.Policy); why == nil {
			return nil
		}
	}
	return refusal.New(CodeWeaker, "%d keeper has signed for other rules, %d must: %v", n, WeakerSigners, why)
}

// Signers counts the keepers whose signatures over the targets (people, quorums,
// rules …) verify, each key once whatever ids it has. The repository in fsys is
// one that was loaded as root.
func Signers(fsys fs.FS, root trust.Root) (int, error) {
	raw, err := fs.ReadFile(fsys, fmt.Sprintf("%d.root.json", root.Versions.Root))
	if err != nil {
		return 0, err
	}
	keepers, err := new(metadata.Metadata[metadata.RootType]).FromBytes(raw)
	if err != nil {
		return 0, err
	}
	if raw, err = fs.ReadFile(fsys, fmt.Sprintf("%d.targets.json", root.Versions.Targets)); err != nil {
		return 0, err
	}
	targets, err := new(metadata.Metadata[metadata.TargetsType]).FromBytes(raw)
	if err != nil {
		return 0, err
	}
	signed, all := map[string]bool{}, keepers.Signed.Roles
	for _, id := range all[metadata.TARGETS].KeyIDs {
		keepers.Signed.Roles = map[string]*metadata.Role{metadata.TARGETS: {KeyIDs: []string{id}, Threshold: 1}}
		if keepers.VerifyDelegate(metadata.TARGETS, targets) == nil {
			signed[keepers.Signed.Keys[id].Value.PublicKey] = true
		}
	}
	return len(signed), nil
}

// over is a file system with some files put over another's.
type over struct {
	base fs.FS
	top  Files
}

// Open opens the file on top, or else the one below.
func (o over) Open(name string) (fs.File, error) {
	if _, ok := o.top[name]; ok {
		return o.top.Open(name)
	}
	return o.base.Open(name)
}
