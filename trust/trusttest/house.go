// Package trusttest builds one small house in memory, for tests and the demo
// only: keepers, people, hosts, witnesses, a log and the signed trust repository
// that names them, with every private key at hand.
//
// All rooms' tests use this one house, so that what one room's test makes the
// next room's test can judge. Nothing here is stubbed: the repository is made by
// trust/ceremony and loaded by trust.Load, keys and signatures are real.
//
// It is no place to keep a key, and no shipped binary but the demo's links it.
package trusttest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"testing/fstest"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/crypto/ssh"
	"golang.org/x/mod/sumdb/note"
	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
)

// Options shapes the house. The zero Options is good for most tests.
type Options struct {
	Now       time.Time // when everything is signed; zero: 2026-01-05 08:00 UTC
	Keepers   int       // zero: 3, of whom 2 must sign
	Threshold int       // zero: 2
	People    int       // zero: 3; at least 2
	Hosts     int       // zero: 2; they alternate between the fault domains "a" and "b"
	Witnesses int       // zero: 3, of whom all but one must cosign; 1 means 1 of 1
	Log       string    // the log's name; zero: "log.example/patchwrit"

	Origins  []trust.Origin    // zero: "debian-main" and "debian-security" with keyring "vendor.gpg"
	Keyrings map[string][]byte // zero: bytes that no OpenPGP reader accepts; give real ones where provenance is tested

	Edit func(*ceremony.Contents) // a last change before signing
}

// House is the whole world of a test.
type House struct {
	FS        fstest.MapFS // the trust repository
	Pinned    canon.Digest // of its 1.root.json
	Root      trust.Root   // loaded at Now
	Now       time.Time
	Keepers   []ed25519.PrivateKey
	Threshold int
	People    []Person // ascending by id: p-1, p-2, …
	Hosts     []Host   // in the order they were made, not of their ids
	Witnesses []Witness
	Log       Log
}

// Person is somebody of the roster with both their keys. Everybody has the role
// "owner"; those with an even number are "security" besides.
type Person struct {
	trust.Person
	SSH       ed25519.PrivateKey // behind Credentials[SSHCredential]
	Passkey   *ecdsa.PrivateKey  // behind Credentials[PasskeyCredential]; relying party localhost
	ssh, pass trust.Credential
}

// SSHCredential is the roster's entry of the person's ssh key.
func (p Person) SSHCredential() trust.Credential { return p.ssh }

// PasskeyCredential is the roster's entry of the person's passkey.
func (p Person) PasskeyCredential() trust.Credential { return p.pass }

// Host is a machine with its private key.
type Host struct {
	trust.Host
	Key ed25519.PrivateKey
}

// Witness is a witness of the policy with its private key. Its name is the same
// in the policy, in its key and in its leases.
type Witness struct {
	Name   string
	URL    string
	Key    ed25519.PrivateKey
	Signer *torchwood.CosignatureSigner // cosigns at the machine's time; see At
}

// Log is the transparency log's identity.
type Log struct {
	Origin string // its checkpoints' first line
	VKey   string // its verifier key, as in the policy
	SKey   string // its signer key, as note.NewSigner takes it
	Signer note.Signer
}

// Passkey page of the house: the approver's own binary serves it.
const (
	RelyingParty = "localhost"
	PasskeyPage  = "http://localhost:8444"
)

// fallback fills the zero fields.
func (o *Options) fallback() {
	for field, value := range map[*int]int{&o.Keepers: 3, &o.Threshold: 2, &o.People: 3, &o.Hosts: 2, &o.Witnesses: 3} {
		if *field == 0 {
			*field = value
		}
	}
	if o.Now.IsZero() {
		o.Now = time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)
	}
	if o.Log == "" {
		o.Log = "log.example/patchwrit"
	}
	if o.Origins == nil {
		o.Origins = []trust.Origin{
			{ID: "debian-main", Keyring: "vendor.gpg", Signers: 1, Origin: "Debian", Label: "Debian", Codename: "bookworm", Suites: []string{"stable", "oldstable"}, Sections: []string{"main"}},
			{ID: "debian-security", Keyring: "vendor.gpg", Signers: 1, Origin: "Debian", Label: "Debian-Security", Codename: "bookworm-security", Suites: []string{"stable-security", "oldstable-security"}, Sections: []string{"main"}},
		}
	}
	if o.Keyrings == nil {
		o.Keyrings = map[string][]byte{"vendor.gpg": []byte("no OpenPGP keyring: this house vouches for no vendor\n")}
	}
}

// New builds a house. Randomness comes from r (the same bytes make the same
// house), or from the system when r is nil.
func New(r io.Reader, o Options) (House, error) {
	o.fallback()
	b := builder{rand: r, house: House{Now: o.Now, Threshold: o.Threshold}}
	if r == nil {
		b.rand = rand.Reader
	}
	for range o.Keepers {
		b.house.Keepers = append(b.house.Keepers, b.edwards())
	}
	for i := range o.People {
		b.person(i + 1)
	}
	for i := range o.Hosts {
		b.host(i)
	}
	policy := b.witnessed(o)
	if b.err != nil {
		return House{}, b.err
	}
	c := ceremony.Contents{Origins: o.Origins, Keyrings: o.Keyrings, Critical: Critical, Witnesses: policy, Quorums: Quorums()}
	for _, p := range b.house.People {
		c.People = append(c.People, p.Person)
	}
	for _, h := range b.house.Hosts {
		c.Hosts = append(c.Hosts, h.Host)
	}
	if o.Edit != nil {
		o.Edit(&c)
	}
	return b.house.found(c)
}

// Must is New for tests that have nowhere to go with an error.
func Must(r io.Reader, o Options) House {
	h, err := New(r, o)
	if err != nil {
		panic(fmt.Sprintf("trusttest: %v", err))
	}
	return h
}

// Critical is the house's critical list.
var Critical = change.List{
	Packages: []string{"apt", "dpkg", "grub*", "libc6", "linux-image-*", "openssh-server", "patchwrit*", "sudo", "systemd"},
	Paths:    []string{"/boot/", "/etc/pam.d/"},
}

// Quorums are the house's thresholds: two people, one of each role from
// sensitive up; one may halt or revoke.
func Quorums() []trust.Quorum {
	two := []trust.RoleNeed{{Role: "owner", People: 1}, {Role: "security", People: 1}}
	return []trust.Quorum{
		{For: "routine", People: 2, Roles: []trust.RoleNeed{}}, {For: "sensitive", People: 2, Roles: two}, {For: "critical", People: 2, Roles: two},
		{For: "grant", People: 2, Roles: two}, {For: "revoke", People: 1, Roles: []trust.RoleNeed{}}, {For: "halt", People: 1, Roles: []trust.RoleNeed{}},
		{For: "lift", People: 2, Roles: []trust.RoleNeed{}}, {For: "rollback", People: 2, Roles: two},
	}
}

// Signing is the keepers' signing hand, for a later version of the repository.
func (h House) Signing() ceremony.Signing {
	s := ceremony.Signing{Pinned: h.Pinned, Now: h.Now, Life: ceremony.Life{Root: 20 * year, Rest: 10 * year}}
	for _, k := range h.Keepers {
		s.Keys = append(s.Keys, k)
	}
	return s
}

const year = 365 * 24 * time.Hour

// found signs the repository and loads it.
func (h House) found(c ceremony.Contents) (House, error) {
	k := ceremony.Keepers{Threshold: h.Threshold}
	for _, key := range h.Keepers {
		k.Keys = append(k.Keys, key.Public().(ed25519.PublicKey))
	}
	files, pinned, err := ceremony.Found(c, k, false, h.Signing())
	if err != nil {
		return House{}, err
	}
	h.FS, h.Pinned = fstest.MapFS{}, pinned
	for name, b := range files {
		h.FS[name] = &fstest.MapFile{Data: b, Mode: 0o444}
	}
	h.Root, err = trust.Load(h.FS, h.Pinned, trust.Versions{}, h.Now)
	return h, err
}

// builder makes keys and parties; the first error sticks.
type builder struct {
	rand  io.Reader
	house House
	err   error
}

func (b *builder) bytes(n int) []byte {
	out := make([]byte, n)
	if _, err := io.ReadFull(b.rand, out); err != nil && b.err == nil {
		b.err = err
	}
	return out
}

func (b *builder) edwards() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(b.bytes(ed25519.SeedSize))
}

func (b *builder) nist() *ecdsa.PrivateKey {
	for b.err == nil {
		// About one in 2^32 strings of 32 bytes is no scalar of P-256.
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b.bytes(32)); err == nil {
			return key
		}
	}
	return nil
}

func (b *builder) person(n int) {
	p := Person{SSH: b.edwards(), Passkey: b.nist()}
	if b.err != nil {
		return
	}
	public, err := ssh.NewPublicKey(p.SSH.Public())
	if err == nil {
		p.ssh, err = ceremony.FromSSH(ssh.MarshalAuthorizedKey(public))
	}
	if err == nil {
		p.pass, err = ceremony.FromWebAuthn(&p.Passkey.PublicKey, RelyingParty, PasskeyPage)
	}
	if err != nil {
		b.err = err
		return
	}
	p.Person = trust.Person{ID: trust.PersonID(fmt.Sprintf("p-%03d", n)), Roles: []string{"owner"}, Credentials: []trust.Credential{p.ssh, p.pass}}
	if n%2 == 0 {
		p.Roles = append(p.Roles, "security")
	}
	b.house.People = append(b.house.People, p)
}

func (b *builder) host(n int) {
	h := Host{Key: b.edwards()}
	public := h.Key.Public().(ed25519.PublicKey)
	h.Host = trust.Host{ID: trust.HostOf(public), Public: hex.EncodeToString(public), Domain: string(rune('a' + n%2)), Labels: []trust.Label{{Key: "env", Value: "test"}}}
	b.house.Hosts = append(b.house.Hosts, h)
}

// witnessed makes the log, the witnesses and the policy's text.
func (b *builder) witnessed(o Options) string {
	skey, vkey, err := note.GenerateKey(b.rand, o.Log)
	if err != nil {
		b.err = err
		return ""
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		b.err = err
		return ""
	}
	b.house.Log = Log{Origin: o.Log, VKey: vkey, SKey: skey, Signer: signer}
	text, group := "log "+vkey+"\n", fmt.Sprintf("group witnesses %d", max(1, o.Witnesses-1))
	for i := range o.Witnesses {
		w := Witness{Name: fmt.Sprintf("w%d.example", i+1), Key: b.edwards()}
		w.URL = "https://" + w.Name
		if w.Signer, err = torchwood.NewCosignatureSigner(w.Name, w.Key); err != nil {
			b.err = err
			return ""
		}
		text += fmt.Sprintf("witness %s %s %s\n", w.Name, w.Signer.Verifier(), w.URL)
		group += " " + w.Name
		b.house.Witnesses = append(b.house.Witnesses, w)
	}
	return text + group + "\nquorum witnesses\n"
}

// At is the witness's cosigner at Unix second t, instead of the machine's time.
func (w Witness) At(t int64) note.Signer { return cosigner{w, t} }

type cosigner struct {
	Witness
	time int64
}

func (c cosigner) Name() string    { return c.Witness.Name }
func (c cosigner) KeyHash() uint32 { return c.Signer.KeyHash() }

// Sign makes a cosignature/v1 (c2sp.org/tlog-cosignature).
func (c cosigner) Sign(msg []byte) ([]byte, error) {
	text := fmt.Appendf(nil, "cosignature/v1\ntime %d\n", c.time)
	sig, err := c.Key.Sign(nil, append(text, msg...), crypto.Hash(0))
	return append(binary.BigEndian.AppendUint64(nil, uint64(c.time)), sig...), err
}

// Checkpoint is a signed checkpoint of the log over a tree of size leaves with
// this root hash; the first len(times) witnesses cosign it, each at its time.
func (h House) Checkpoint(size int64, hash [32]byte, times ...int64) ([]byte, error) {
	text := torchwood.Checkpoint{Origin: h.Log.Origin, Tree: sumdb.Tree{N: size, Hash: hash}}.String()
	signers := []note.Signer{h.Log.Signer}
	for i, t := range times {
		signers = append(signers, h.Witnesses[i].At(t))
	}
	return note.Sign(&note.Note{Text: text}, signers...)
}

// Bundle is the house's trust repository as files, for writing it to a disk.
func (h House) Bundle() map[string][]byte {
	out := map[string][]byte{}
	for name, f := range h.FS {
		out[name] = bytes.Clone(f.Data)
	}
	return out
}
