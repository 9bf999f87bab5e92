package ceremony

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/trust"
)

// Type names of what travels between keepers who never meet.
const (
	TypeStage     = "patchwrit/stage/v1"
	TypeSignature = "patchwrit/stagesignature/v1"
)

// Stage is the next version of a trust repository, waiting for its keepers. It
// holds what the version says; every keeper makes the files of it anew, so
// nothing in it has to be believed, and signs those.
//
// Files of such a version name each other by version alone: their bytes are not
// known before the last keeper has signed. So two stages of one number must not
// both be signed, and Sign takes what a key has signed before as an argument.
type Stage struct {
	Type      string         `json:"type"`
	House     canon.Digest   `json:"house"` // SHA-256 of 1.root.json
	From      trust.Versions `json:"from"`  // of the repository that it changes
	Next      trust.Versions `json:"next"`
	At        int64          `json:"at"` // Unix seconds; the ends count from it
	Targets   []Body         `json:"targets"`
	Hosts     []Body         `json:"hosts"`
	Threshold int            `json:"threshold"` // of the new keepers; 0: the keepers stay
	Keepers   []string       `json:"keepers"`   // new keepers' Ed25519 keys, lower hex, ascending
}

// Body is a target of a role that changes; all of the role's are there.
type Body struct {
	Name string `json:"name"`
	Data string `json:"data"` // standard base64
}

// Bytes are the stage's canonical bytes.
func (s Stage) Bytes() []byte { return canon.MustEncode(s) }

// Digest names the stage.
func (s Stage) Digest() canon.Digest { return canon.Sum(TypeStage, s.Bytes()) }

// Signature is one keeper's word on a stage.
type Signature struct {
	Type   string         `json:"type"`
	Stage  canon.Digest   `json:"stage"`
	Public string         `json:"public"` // Ed25519, lower hex
	Next   trust.Versions `json:"next"`
	Files  []Signed       `json:"files"` // ascending by digest
}

// Signed is the signature over one metadata file's signed part.
type Signed struct {
	Digest    canon.Digest `json:"digest"` // SHA-256 of the signed part's bytes
	Signature string       `json:"signature"`
}

// ReadStage reads a stage; it says nothing about whether it is wise.
func ReadStage(raw []byte) (Stage, error) {
	var s Stage
	if err := canon.Decode(raw, &s); err != nil {
		return s, fmt.Errorf("this is no staged version: %w", err)
	}
	if s.Type != TypeStage || !s.House.Valid() {
		return s, fmt.Errorf("this is no staged version: type %q", s.Type)
	}
	return s, nil
}

// NewStage prepares a version for keepers who sign apart: the edit of the
// contents (nil: the same contents, with new ends), and other keepers (nil: the
// same). Numbers are at least past, for a stage before it that was given up.
// It is refused when readers would refuse what comes out.
func NewStage(dir string, s Signing, past int64, edit func(*Contents) error, k *Keepers) (Stage, error) {
	w, err := open(os.DirFS(dir), s)
	if err != nil {
		return Stage{}, err
	}
	c := ContentsOf(w.old)
	oldTop, oldHosts, err := c.encode()
	if err != nil {
		return Stage{}, err
	}
	if edit != nil {
		if err := edit(&c); err != nil {
			return Stage{}, err
		}
	}
	top, hosts, err := c.encode()
	if err != nil {
		return Stage{}, err
	}
	if err := c.rehearse(s.Now); err != nil {
		return Stage{}, err
	}
	if edit != nil && k == nil {
		if top, hosts = changed(oldTop, top), changed(oldHosts, hosts); top == nil && hosts == nil {
			return Stage{}, ErrNothing
		}
	}
	for _, n := range []*int64{&w.next.Timestamp, &w.next.Snapshot, &w.next.Targets, &w.next.Hosts} {
		*n = max(*n, past)
	}
	w.keep(top, hosts)
	out := Stage{Type: TypeStage, House: s.Pinned, From: w.old.Versions, At: s.Now.Unix(), Targets: listed(top), Hosts: listed(hosts), Keepers: []string{}}
	if k != nil {
		if err := k.valid(); err != nil {
			return Stage{}, err
		}
		w.next.Root++
		for _, key := range k.Keys {
			out.Keepers = append(out.Keepers, hex.EncodeToString(key))
		}
		slices.Sort(out.Keepers)
		out.Threshold = k.Threshold
	}
	out.Next = w.next
	return out, nil
}

// rehearse shows contents to readers under a keeper made for this: what they
// would refuse, no real keeper should sign.
func (c Contents) rehearse(now time.Time) error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	_, _, err = Found(c, Keepers{Threshold: 1, Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}}, false, Signing{Keys: []crypto.Signer{key}, Now: now})
	return err
}

func listed(bodies map[string][]byte) []Body {
	out := []Body{}
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		out = append(out, Body{name, base64.StdEncoding.EncodeToString(bodies[name])})
	}
	return out
}

// unlisted is nil for a role that does not change.
func unlisted(list []Body) (map[string][]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := map[string][]byte{}
	for _, b := range list {
		data, err := base64.StdEncoding.Strict().DecodeString(b.Data)
		if err != nil {
			return nil, fmt.Errorf("staged %s: %w", b.Name, err)
		}
		out[b.Name] = data
	}
	return out, nil
}

// keepers are the new keepers, or nil.
func (s Stage) keepers() (*Keepers, error) {
	if s.Threshold == 0 && len(s.Keepers) == 0 {
		return nil, nil
	}
	k := &Keepers{Threshold: s.Threshold}
	for _, text := range s.Keepers {
		key, err := hex.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("staged keeper %q: %w", text, err)
		}
		k.Keys = append(k.Keys, key)
	}
	return k, k.valid()
}

// make makes the files of the stage over the repository in base, signed with
// the keys at hand.
func (s Stage) make(base fs.FS, pinned canon.Digest, keys []crypto.Signer, life Life) (*writer, error) {
	w, err := open(base, Signing{Pinned: pinned, Keys: keys, Now: time.Unix(s.At, 0), Life: life})
	if err != nil {
		return nil, err
	}
	if s.House != pinned || s.From != w.old.Versions {
		return nil, fmt.Errorf("it was staged for house %s at %+v, this is %s at %+v: stage it anew", s.House.Short(), s.From, pinned.Short(), w.old.Versions)
	}
	top, err := unlisted(s.Targets)
	if err != nil {
		return nil, err
	}
	hosts, err := unlisted(s.Hosts)
	if err != nil {
		return nil, err
	}
	k, err := s.keepers()
	if err != nil {
		return nil, err
	}
	w.apart, w.next = true, s.Next
	if k != nil {
		w.next.Root = w.old.Versions.Root
		if err := w.rotate(*k); err != nil {
			return nil, err
		}
	}
	if w.next != s.Next || s.Next.Root < s.From.Root || !s.Next.Newer(s.From) || s.From.Newer(s.Next) {
		return nil, fmt.Errorf("its numbers %+v do not follow %+v", s.Next, s.From)
	}
	return w, w.bodies(top, hosts)
}

// ErrAgain says that a key has signed another stage of this number already.
var ErrAgain = errors.New("this key has signed another stage of the same number; whoever holds both could mix them. Stage it anew with a higher number (--past)")

// Sign makes a keeper's word on a stage for the repository in dir. before is
// what this key signed last, or the zero Signature.
func (s Stage) Sign(dir string, pinned canon.Digest, key crypto.Signer, before Signature) (Signature, error) {
	r := &recorder{Signer: key, sigs: map[canon.Digest][]byte{}}
	if _, err := s.make(os.DirFS(dir), pinned, []crypto.Signer{r}, Life{}); err != nil {
		return Signature{}, err
	}
	if len(r.sigs) == 0 {
		return Signature{}, errors.New("this key is neither a keeper's nor a new keeper's: its word would not count")
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return Signature{}, fmt.Errorf("a keeper's key must be Ed25519, this one is %T", key.Public())
	}
	out := Signature{Type: TypeSignature, Stage: s.Digest(), Public: hex.EncodeToString(public), Next: s.Next, Files: []Signed{}}
	if before.Public == out.Public && before.Stage != out.Stage && !ahead(s.Next, before.Next) {
		return Signature{}, ErrAgain
	}
	for d, sig := range r.sigs {
		out.Files = append(out.Files, Signed{d, base64.StdEncoding.EncodeToString(sig)})
	}
	slices.SortFunc(out.Files, func(a, b Signed) int { return cmp.Compare(a.Digest, b.Digest) })
	return out, nil
}

// ahead reports whether every number that always moves is above the old one.
func ahead(now, old trust.Versions) bool {
	return now.Timestamp > old.Timestamp && now.Snapshot > old.Snapshot
}

// Publish writes a stage that enough keepers have signed. It is refused, and
// nothing is written, when readers would refuse the result.
func (s Stage) Publish(dir string, pinned canon.Digest, now time.Time, signatures []Signature) (Done, error) {
	var keys []crypto.Signer
	for _, g := range signatures {
		if g.Type != TypeSignature || g.Stage != s.Digest() {
			return Done{}, fmt.Errorf("a signature of %.16s… is for stage %s, not for this one (%s)", g.Public, g.Stage.Short(), s.Digest().Short())
		}
		p, err := paperOf(g)
		if err != nil {
			return Done{}, err
		}
		keys = append(keys, p)
	}
	w, err := s.make(os.DirFS(dir), pinned, keys, Life{})
	if err != nil {
		return Done{}, err
	}
	if err := w.enough(w.root, "keepers"); err != nil {
		return Done{}, err
	}
	w.s.Now = now
	return w.write(dir)
}

// Changes says for people what a stage changes in the repository in dir, role by
// role: lines that go and lines that come.
func (s Stage) Changes(dir string, pinned canon.Digest) ([]Change, error) {
	w, err := s.make(os.DirFS(dir), pinned, nil, Life{})
	if err != nil {
		return nil, err
	}
	c := ContentsOf(w.old)
	top, hosts, err := c.encode()
	if err != nil {
		return nil, err
	}
	out := []Change{}
	for _, role := range []struct {
		old  map[string][]byte
		list []Body
	}{{top, s.Targets}, {hosts, s.Hosts}} {
		now, err := unlisted(role.list)
		if err != nil {
			return nil, err
		}
		if now == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(union(role.old, now))) {
			if !bytes.Equal(role.old[name], now[name]) {
				out = append(out, Change{name, role.old[name], now[name]})
			}
		}
	}
	return out, nil
}

// Change is a target before and after; nil is not there.
type Change struct {
	Name     string
	Old, New []byte
}

func union(a, b map[string][]byte) map[string][]byte {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// recorder is a key that keeps what it signed.
type recorder struct {
	crypto.Signer
	sigs map[canon.Digest][]byte
}

// Sign implements crypto.Signer.
func (r *recorder) Sign(random io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, err := r.Signer.Sign(random, message, opts)
	if err == nil {
		r.sigs[messageDigest(message)] = sig
	}
	return sig, err
}

func messageDigest(message []byte) canon.Digest {
	sum := sha256.Sum256(message)
	return canon.Digest(hex.EncodeToString(sum[:]))
}

// paper is a keeper's word, standing in for the key at the ceremony.
type paper struct {
	public ed25519.PublicKey
	sigs   map[canon.Digest][]byte
}

func paperOf(g Signature) (paper, error) {
	key, err := hex.DecodeString(g.Public)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return paper{}, fmt.Errorf("a signature by %q, which is no key", g.Public)
	}
	p := paper{key, map[canon.Digest][]byte{}}
	for _, f := range g.Files {
		if p.sigs[f.Digest], err = base64.StdEncoding.Strict().DecodeString(f.Signature); err != nil {
			return p, fmt.Errorf("a signature by %.16s…: %w", g.Public, err)
		}
	}
	return p, nil
}

// Public implements crypto.Signer.
func (p paper) Public() crypto.PublicKey { return p.public }

// Sign implements crypto.Signer: it gives what the keeper has signed.
func (p paper) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	sig, ok := p.sigs[messageDigest(message)]
	if !ok || !ed25519.Verify(p.public, message, sig) {
		return nil, fmt.Errorf("keeper %x has not signed all of it: let them sign the stage again", []byte(p.public[:8]))
	}
	return sig, nil
}

// KeeperID is the TUF key id of a keeper's key, as trust show lists it.
func KeeperID(key ed25519.PublicKey) (string, error) { return keyID(key) }

// KeepersOf reads who the keepers of the repository in dir are.
func KeepersOf(dir string, s Signing) (Keepers, error) {
	w, err := open(os.DirFS(dir), s)
	if err != nil {
		return Keepers{}, err
	}
	role := w.root.Signed.Roles[metadata.ROOT]
	k := Keepers{Threshold: role.Threshold}
	for _, id := range role.KeyIDs {
		public, err := w.root.Signed.Keys[id].ToPublicKey()
		if err != nil {
			return Keepers{}, err
		}
		key, ok := public.(ed25519.PublicKey)
		if !ok {
			return Keepers{}, fmt.Errorf("keeper %s has a %T", id, public)
		}
		k.Keys = append(k.Keys, key)
	}
	return k, nil
}
