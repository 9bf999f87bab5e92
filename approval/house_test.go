package approval_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

const (
	page    = "http://localhost:8444"
	console = "https://console.example"
)

// key is one credential of the house with its private half. It can sign rightly
// or, with parts bent, wrongly in exactly one way.
type key struct {
	name       string
	credential trust.Credential
	ed         ed25519.PrivateKey
	ec         *ecdsa.PrivateKey
	person     trust.PersonID
}

// house is the common test house; its first person holds a key of every kind.
type house struct {
	trusttest.House
	keys    map[string]key // of p-001, by name
	revoked key            // of p-001
	far     map[trust.PersonID]key
}

// shown is the house most tests share; nothing changes it.
var shown = newHouse(false)

func newHouse(solo bool) house {
	h := house{keys: map[string]key{}, far: map[trust.PersonID]key{}}
	for _, k := range []key{
		newSSH("ed25519", approval.Ed25519, ""), newSSH("ecdsa", approval.ECDSA, ""),
		newSSH("sk-ed25519", approval.SKEd25519, "ssh:"), newSSH("sk-ecdsa", approval.SKECDSA, "ssh:approve"),
		newPasskey("passkey", "localhost", page, "http://localhost:9000"),
	} {
		h.keys[k.name] = k
	}
	h.revoked = newSSH("revoked", approval.Ed25519, "")
	h.revoked.credential.Revoked = true
	h.House = trusttest.Must(nil, trusttest.Options{People: 5, Edit: func(c *ceremony.Contents) {
		c.Solo = solo
		for i, p := range c.People {
			far := newPasskey("far", "console.example", console)
			if i == 0 {
				for _, k := range h.keys {
					p.Credentials = append(p.Credentials, k.credential)
				}
				p.Credentials = append(p.Credentials, h.revoked.credential)
			}
			p.Credentials = append(p.Credentials, far.credential)
			far.person = p.ID
			h.far[p.ID] = far
			c.People[i] = p
		}
	}})
	for name, k := range h.keys {
		k.person = h.People[0].ID
		h.keys[name] = k
	}
	h.revoked.person = h.People[0].ID
	return h
}

// quick is a key every person of the house has.
func (h house) quick(n int) key {
	p := h.People[n]
	return key{name: "quick", credential: p.SSHCredential(), ed: p.SSH, person: p.ID}
}

func newEC() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func point(k *ecdsa.PrivateKey) []byte {
	b, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return b
}

func newSSH(name, algorithm, application string) key {
	k := key{name: name}
	var public []byte
	switch algorithm {
	case approval.Ed25519, approval.SKEd25519:
		_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
		public = ssh.Marshal(struct{ A, B string }{algorithm, string(k.ed.Public().(ed25519.PublicKey))})
	default:
		k.ec = newEC()
		public = ssh.Marshal(struct{ A, B, C string }{algorithm, "nistp256", string(point(k.ec))})
	}
	if application != "" {
		public = append(public, ssh.Marshal(struct{ A string }{application})...)
	}
	text := base64.StdEncoding.EncodeToString(public)
	k.credential = trust.Credential{ID: trust.CredentialOf(text), Method: trust.SSH, Algorithm: algorithm, Public: text, Application: application, Origins: []string{}}
	return k
}

func newPasskey(name, party string, origins ...string) key {
	k := key{name: name, ec: newEC()}
	public := fmt.Sprintf("%x", point(k.ec))
	k.credential = trust.Credential{ID: trust.CredentialOf(public), Method: trust.WebAuthn, Algorithm: approval.ES256, Public: public, RelyingParty: party, Origins: origins}
	return k
}

// parts are what a signature is made of, before it is signed. Bending one makes
// a signature that is right over something wrong.
type parts struct {
	// OpenSSH
	magic     string
	version   uint32
	public    []byte
	namespace string
	reserved  string
	hash      string
	algorithm string
	flags     byte
	counter   uint32
	app       string // what the authenticator hashes
	inner     []byte // behind the signature, inside its field
	tail      []byte // behind everything
	blob      func([]byte) []byte
	// WebAuthn
	client        string
	authenticator []byte
	der           func([]byte) []byte
}

// sign makes the approval of s, bent where bend says.
func (k key) sign(s approval.Statement, bend ...func(*parts)) approval.Approval {
	a := approval.Approval{Type: approval.TypeApproval, Kind: s.Kind, Statement: s.Digest(), Person: k.person, Credential: k.credential.ID, At: 1767600000}
	if k.credential.Method == trust.SSH {
		a.Signature = base64.StdEncoding.EncodeToString(k.sshsig(s, bend))
		return a
	}
	party := sha256.Sum256([]byte(k.credential.RelyingParty))
	p := parts{
		client: fmt.Sprintf(`{"type":"webauthn.get","challenge":"%s","origin":"%s","crossOrigin":false}`,
			base64.RawURLEncoding.EncodeToString(s.Digest().Bytes()), k.credential.Origins[0]),
		authenticator: append(party[:], 0x05, 0, 0, 0, 9),
		der:           func(b []byte) []byte { return b },
	}
	for _, f := range bend {
		f(&p)
	}
	sum := sha256.Sum256([]byte(p.client))
	digest := sha256.Sum256(slices.Concat(p.authenticator, sum[:]))
	sig, err := ecdsa.SignASN1(rand.Reader, k.ec, digest[:])
	if err != nil {
		panic(err)
	}
	a.Signature = base64.StdEncoding.EncodeToString(p.der(sig))
	a.Authenticator = base64.StdEncoding.EncodeToString(p.authenticator)
	a.Client = base64.StdEncoding.EncodeToString([]byte(p.client))
	return a
}

func (k key) sshsig(s approval.Statement, bend []func(*parts)) []byte {
	public, _ := base64.StdEncoding.DecodeString(k.credential.Public)
	p := parts{
		magic: "SSHSIG", version: 1, public: public, namespace: s.Kind.Namespace(), hash: "sha512", algorithm: k.credential.Algorithm,
		flags: 0x05, counter: 7, app: k.credential.Application, blob: func(b []byte) []byte { return b },
	}
	for _, f := range bend {
		f(&p)
	}
	sum := sha512.Sum512(s.Bytes)
	hashed := sum[:]
	if p.hash == "sha256" {
		sum := sha256.Sum256(s.Bytes)
		hashed = sum[:]
	}
	message := append([]byte("SSHSIG"), ssh.Marshal(struct{ A, B, C, D string }{p.namespace, p.reserved, p.hash, string(hashed)})...)
	sk := k.credential.Application != ""
	if sk {
		app, sum := sha256.Sum256([]byte(p.app)), sha256.Sum256(message)
		message = slices.Concat(app[:], ssh.Marshal(struct {
			Flags   byte
			Counter uint32
		}{p.flags, p.counter}), sum[:])
	}
	sig := ssh.Marshal(struct{ A, B string }{p.algorithm, string(p.blob(k.raw(message)))})
	if sk {
		sig = append(sig, ssh.Marshal(struct {
			Flags   byte
			Counter uint32
		}{p.flags, p.counter})...)
	}
	return slices.Concat([]byte(p.magic), ssh.Marshal(struct {
		Version                        uint32
		Public, Namespace, Reserved, H string
		Signature                      []byte
	}{p.version, string(p.public), p.namespace, p.reserved, p.hash, append(sig, p.inner...)}), p.tail)
}

// raw is the key's signature as its algorithm writes it.
func (k key) raw(message []byte) []byte {
	if k.ed != nil {
		return ed25519.Sign(k.ed, message)
	}
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, k.ec, digest[:])
	if err != nil {
		panic(err)
	}
	return ssh.Marshal(struct{ R, S *big.Int }{r, s})
}

// say is a statement of some kind.
func say(k approval.Kind) approval.Statement {
	return approval.Statement{Kind: k, Bytes: canon.MustEncode(map[string]string{"nonce": "0123", "type": "patchwrit/plan/v1"})}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
