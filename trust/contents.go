package trust

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
)

const (
	codeForm        refusal.Code = "PW-TRUST-FORM"
	codeRoster      refusal.Code = "PW-TRUST-ROSTER"
	codeCredential  refusal.Code = "PW-TRUST-CREDENTIAL"
	codeQuorum      refusal.Code = "PW-TRUST-QUORUM"
	codeSolo        refusal.Code = "PW-TRUST-SOLO"
	codeUnreachable refusal.Code = "PW-TRUST-UNREACHABLE"
	codeHosts       refusal.Code = "PW-TRUST-HOSTS"
	codeOrigin      refusal.Code = "PW-TRUST-ORIGIN"
	codeWitnesses   refusal.Code = "PW-TRUST-WITNESSES"
	codeCritical    refusal.Code = "PW-TRUST-CRITICAL"
	codePolicy      refusal.Code = "PW-TRUST-POLICY"
)

// Type names of the targets' encodings.
const (
	TypeRoster     = "patchwrit/roster/v1"
	TypeThresholds = "patchwrit/thresholds/v1"
	TypeHosts      = "patchwrit/hosts/v1"
	TypeOrigins    = "patchwrit/origins/v1"
	TypeCritical   = "patchwrit/critical/v1"
	TypePolicy     = "patchwrit/policy/v1"
)

// Names of the targets. A targets.json that names anything else, but for
// keyrings, is refused: an old reader must not pass over a rule it does not know.
const (
	fileRoster     = "roster.json"
	fileThresholds = "thresholds.json"
	fileOrigins    = "origins.json"
	fileCritical   = "critical.json"
	filePolicy     = "policy.json"
	fileWitnesses  = "witness.policy"
	keyrings       = "keyrings/"
)

var files = []string{fileCritical, fileOrigins, filePolicy, fileRoster, fileThresholds, fileWitnesses}

// AgentPackage must stand on every critical list: the program that judges
// permissions is never replaced under a grant.
const AgentPackage = "patchwrit-agent"

// QuorumNames are the quorums a root must have, ascending: one for each class,
// and those for standing permissions, stops and going back.
var QuorumNames = []string{"critical", "grant", "halt", "lift", "revoke", "rollback", "routine", "sensitive"}

// Limits of the contents.
const (
	maxQuorum  = 100 // people or role needs in one quorum; more is a slip of the pen
	maxSigners = 16  // Debian signs with three keys
)

// contents reads every target and holds each to the others.
func (l *loader) contents() error {
	for name := range l.tuf.Targets[metadata.TARGETS].Signed.Targets {
		if ring, ok := strings.CutPrefix(name, keyrings); !slices.Contains(files, name) && !(ok && change.Name(ring)) {
			return refusal.New(codeTarget, "%q is no target this version knows", name)
		}
	}
	for _, read := range []func() error{l.roster, l.thresholds, l.machines, l.origins, l.critical, l.policy, l.witnesses} {
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

// decode reads a canonical JSON target; kind is the type it must state.
func decode[T any](l *loader, role, name, kind string, stated func(T) string) (T, error) {
	var v T
	b, err := l.target(role, name)
	if err != nil {
		return v, err
	}
	if err := canon.Decode(b, &v); err != nil {
		return v, refusal.New(codeForm, "%s: %v", name, err)
	}
	if stated(v) != kind {
		return v, refusal.New(codeForm, "%s is of type %q, wanted is %q", name, stated(v), kind)
	}
	return v, nil
}

func (l *loader) roster() error {
	r, err := decode(l, metadata.TARGETS, fileRoster, TypeRoster, func(r Roster) string { return r.Type })
	if err != nil {
		return err
	}
	owner := map[canon.Digest]PersonID{}
	for _, p := range r.People {
		if !change.Name(string(p.ID)) || !ascending(p.Roles, func(s string) string { return s }) || !all(p.Roles, change.Name) {
			return refusal.New(codeRoster, "person %q, roles %q", p.ID, p.Roles)
		}
		for _, c := range p.Credentials {
			if err := c.valid(); err != nil {
				return refusal.New(codeCredential, "%s, credential %s: %v", p.ID, c.ID.Short(), err)
			}
			if other, taken := owner[c.ID]; taken {
				return refusal.New(codeRoster, "credential %s belongs to %s and to %s", c.ID.Short(), other, p.ID)
			}
			owner[c.ID] = p.ID
		}
	}
	if !ascending(r.People, func(p Person) PersonID { return p.ID }) {
		return refusal.New(codeRoster, "people are not strictly ascending by id")
	}
	l.out.People = r.People
	return nil
}

// valid says why the credential cannot be used, or nil. What is pinned beside
// the key must be what the key says of itself.
func (c Credential) valid() error {
	switch {
	case c.ID != CredentialOf(c.Public):
		return fmt.Errorf("its id is not the digest of its key")
	case c.Method == SSH && (c.RelyingParty != "" || len(c.Origins) > 0):
		return fmt.Errorf("an ssh key has no relying party")
	case c.Method == SSH:
		return c.validSSH()
	case c.Method == WebAuthn && c.Application == "":
		return c.validWebAuthn()
	}
	return fmt.Errorf("method %q, application %q", c.Method, c.Application)
}

// CredentialOf computes the id of the credential whose key is written public.
func CredentialOf(public string) canon.Digest {
	return canon.Sum("patchwrit/credential/v1", []byte(public))
}

// Algorithms of ssh credentials with the fields of their key blobs after the
// type: "32" is an Ed25519 key, "65" a P-256 point, "app" the application.
// Sources: RFC 8709 §4, RFC 5656 §3.1, openssh/PROTOCOL.u2f.
var sshFields = map[string][]string{
	"ssh-ed25519":                        {"32"},
	"ecdsa-sha2-nistp256":                {"nistp256", "65"},
	"sk-ssh-ed25519@openssh.com":         {"32", "app"},
	"sk-ecdsa-sha2-nistp256@openssh.com": {"nistp256", "65", "app"},
}

func (c Credential) validSSH() error {
	want, known := sshFields[c.Algorithm]
	blob, err := base64.StdEncoding.Strict().DecodeString(c.Public)
	if !known || err != nil {
		return fmt.Errorf("ssh algorithm %q, or its key is not base64", c.Algorithm)
	}
	application := ""
	for i, form := range append([]string{c.Algorithm}, want...) {
		if len(blob) < 4 || uint64(binary.BigEndian.Uint32(blob)) > uint64(len(blob)-4) {
			return fmt.Errorf("the key blob ends in field %d", i)
		}
		n := 4 + int(binary.BigEndian.Uint32(blob))
		field := blob[4:n]
		blob = blob[n:]
		switch form {
		case "32", "65":
			if fmt.Sprint(len(field)) != form || form == "65" && field[0] != 4 {
				return fmt.Errorf("a key of %d bytes", len(field))
			}
		case "app":
			application = string(field)
		default:
			if string(field) != form {
				return fmt.Errorf("the key is of type %q", field)
			}
		}
	}
	if len(blob) > 0 || application != c.Application || slices.Contains(want, "app") && application == "" {
		return fmt.Errorf("%d bytes after the key, application %q", len(blob), application)
	}
	return nil
}

func (c Credential) validWebAuthn() error {
	if c.Algorithm != "ES256" || !canon.Hex(c.Public, 65) || !strings.HasPrefix(c.Public, "04") {
		return fmt.Errorf("algorithm %q; only ES256 with an uncompressed point is known", c.Algorithm)
	}
	if c.RelyingParty == "" || len(c.Origins) == 0 {
		return fmt.Errorf("no relying party, or no origin")
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme+"://"+u.Host != o || o != strings.ToLower(o) {
			return fmt.Errorf("origin %q is not scheme://host[:port]", o)
		}
		local := u.Hostname() == "localhost" && u.Scheme == "http"
		if u.Scheme != "https" && !local {
			return fmt.Errorf("origin %q is not https", o)
		}
		if u.Hostname() != c.RelyingParty && !strings.HasSuffix(u.Hostname(), "."+c.RelyingParty) {
			return fmt.Errorf("origin %q is outside the relying party %q", o, c.RelyingParty)
		}
	}
	return nil
}

func (l *loader) thresholds() error {
	t, err := decode(l, metadata.TARGETS, fileThresholds, TypeThresholds, func(t Thresholds) string { return t.Type })
	if err != nil {
		return err
	}
	named := []string{}
	for _, q := range t.Quorums {
		named = append(named, q.For)
		if err := q.valid(t.Solo); err != nil {
			return err
		}
	}
	if !slices.Equal(named, QuorumNames) {
		return refusal.New(codeQuorum, "quorums for %q, wanted is exactly %q in this order", named, QuorumNames)
	}
	l.out.Solo, l.out.Quorums = t.Solo, t.Quorums
	if err := l.rising(); err != nil {
		return err
	}
	return l.reachable()
}

// valid judges one quorum by itself.
func (q Quorum) valid(solo bool) error {
	sum := 0
	for _, need := range q.Roles {
		if !change.Name(need.Role) || need.People < 1 || need.People > maxQuorum {
			return refusal.New(codeQuorum, "%s: %d of role %q", q.For, need.People, need.Role)
		}
		sum += need.People
	}
	switch {
	case q.People < 1 || q.People > maxQuorum || sum > q.People:
		return refusal.New(codeQuorum, "%s: %d people, %d by role", q.For, q.People, sum)
	case !ascending(q.Roles, func(n RoleNeed) string { return n.Role }):
		return refusal.New(codeQuorum, "%s: roles are not strictly ascending", q.For)
	case q.People < 2 && !solo && q.For != "halt" && q.For != "revoke":
		return refusal.New(codeSolo, "%s: one person is enough", q.For)
	}
	return nil
}

// rising wants each class to need at least what the one below it needs, and a
// grant, which stands in for approvals up to sensitive, at least what that needs.
func (l *loader) rising() error {
	of := map[string]Quorum{}
	for _, q := range l.out.Quorums {
		of[q.For] = q
	}
	for _, pair := range [][2]string{{"routine", "sensitive"}, {"sensitive", "critical"}, {"sensitive", "grant"}} {
		if low, high := of[pair[0]], of[pair[1]]; !high.covers(low) {
			return refusal.New(codeQuorum, "%s needs less than %s", high.For, low.For)
		}
	}
	return nil
}

// covers reports whether whatever meets q meets low.
func (q Quorum) covers(low Quorum) bool {
	return q.People >= low.People && all(low.Roles, func(need RoleNeed) bool {
		return slices.ContainsFunc(q.Roles, func(n RoleNeed) bool { return n.Role == need.Role && n.People >= need.People })
	})
}

// reachable wants the people of the roster who hold a key in force to be able
// to meet every quorum, one of them on a view of their own.
func (l *loader) reachable() error {
	able, independent := []Person{}, false
	for _, p := range l.out.People {
		inForce := slices.DeleteFunc(slices.Clone(p.Credentials), func(c Credential) bool { return c.Revoked })
		if len(inForce) > 0 {
			able = append(able, p)
		}
		independent = independent || slices.ContainsFunc(inForce, Credential.Independent)
	}
	for _, q := range l.out.Quorums {
		if !q.Met(able) {
			return refusal.New(codeUnreachable, "%s: the %d people with a key in force cannot meet it", q.For, len(able))
		}
	}
	if !independent {
		return refusal.New(codeUnreachable, "nobody can sign on a view of their own: no ssh key, no passkey on localhost")
	}
	return nil
}

func (l *loader) machines() error {
	h, err := decode(l, RoleHosts, "hosts.json", TypeHosts, func(h Hosts) string { return h.Type })
	if err != nil {
		return err
	}
	for _, h := range h.Hosts {
		key, err := hex.DecodeString(h.Public)
		switch {
		case err != nil || !canon.Hex(h.Public, 32) || HostOf(key) != h.ID:
			return refusal.New(codeHosts, "%q is not the fingerprint of its key", h.ID)
		case !change.Name(h.Domain):
			return refusal.New(codeHosts, "%s: fault domain %q", h.ID.Short(), h.Domain)
		case !all(h.Labels, Label.valid) || !ascending(h.Labels, func(l Label) string { return l.Key }):
			return refusal.New(codeHosts, "%s: labels %q", h.ID.Short(), h.Labels)
		}
	}
	if !ascending(h.Hosts, func(h Host) HostID { return h.ID }) {
		return refusal.New(codeHosts, "hosts are not strictly ascending by fingerprint")
	}
	l.out.Hosts = h.Hosts
	return nil
}

func (l *loader) origins() error {
	o, err := decode(l, metadata.TARGETS, fileOrigins, TypeOrigins, func(o Origins) string { return o.Type })
	if err != nil {
		return err
	}
	l.out.Keyrings = map[string][]byte{}
	for _, o := range o.Origins {
		some := func(s []string) bool { return len(s) > 0 && !slices.Contains(s, "") }
		switch {
		case !change.Name(string(o.ID)) || !change.Name(o.Keyring):
			return refusal.New(codeOrigin, "origin %q, keyring %q", o.ID, o.Keyring)
		case o.Signers < 1 || o.Signers > maxSigners:
			return refusal.New(codeOrigin, "%s: %d signers", o.ID, o.Signers)
		case o.Origin == "" || o.Label == "" || o.Codename == "" || !some(o.Suites) || !some(o.Sections):
			return refusal.New(codeOrigin, "%s: origin, label, codename, suites and sections must be named", o.ID)
		}
		ring, err := l.target(metadata.TARGETS, keyrings+o.Keyring)
		if err != nil {
			return err
		}
		if len(ring) == 0 {
			return refusal.New(codeOrigin, "%s: keyring %s is empty", o.ID, o.Keyring)
		}
		l.out.Keyrings[o.Keyring] = ring
	}
	if !ascending(o.Origins, func(o Origin) change.Origin { return o.ID }) {
		return refusal.New(codeOrigin, "origins are not strictly ascending by id")
	}
	l.out.Origins = o.Origins
	return nil
}

func (l *loader) critical() error {
	c, err := decode(l, metadata.TARGETS, fileCritical, TypeCritical, func(c Critical) string { return c.Type })
	if err != nil {
		return err
	}
	for _, p := range c.Packages {
		if p != "*" && !change.Name(strings.TrimSuffix(p, "*")) {
			return refusal.New(codeCritical, "package %q", p)
		}
	}
	for _, p := range c.Paths {
		if !strings.HasPrefix(p, "/") || strings.Contains(p, "//") || strings.Contains(p, "/.") {
			return refusal.New(codeCritical, "path %q", p)
		}
	}
	if !c.HasPackage(AgentPackage) {
		return refusal.New(codeCritical, "%s is not on the list", AgentPackage)
	}
	l.out.Critical = c.List
	return nil
}

func (l *loader) policy() error {
	p, err := decode(l, metadata.TARGETS, filePolicy, TypePolicy, func(p Policy) string { return p.Type })
	if err != nil {
		return err
	}
	block, rest := pem.Decode([]byte(canon.Note(p.Key).Text()))
	pinned := p.Bundle.Valid() && block != nil && block.Type == "PUBLIC KEY" && len(rest) == 0
	if !pinned && (p.Bundle != "" || p.Key != "") {
		return refusal.New(codePolicy, "bundle %q with a key of %d characters", p.Bundle, len(p.Key))
	}
	l.out.Policy = p
	return nil
}

func (l *loader) witnesses() error {
	b, err := l.target(metadata.TARGETS, fileWitnesses)
	if err != nil {
		return err
	}
	if _, err := tlog.ParsePolicy(string(b)); err != nil {
		return refusal.New(codeWitnesses, "%v", err)
	}
	l.out.Witnesses = string(b)
	return nil
}
