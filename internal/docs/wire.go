package docs

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Wire is wire.json: the way in, and what a host tells of itself.
type Wire struct {
	About     string     `json:"about"`
	Token     WireToken  `json:"token"`
	Enrolment WireSigned `json:"enrolment"`
	Pass      WireSigned `json:"pass"`
	Snapshot  Snapshot   `json:"snapshot"`
	Before    Snapshot   `json:"snapshot_of_protocol_2"` // the same host, whose agent is of the version before
}

// WireToken is a token, its parts, and texts that are none.
type WireToken struct {
	Text    string       `json:"text"`
	Secret  string       `json:"secret"` // lower hex
	Server  canon.Digest `json:"server"`
	Refused []CanonBad   `json:"refused"`
}

// WireSigned is a signed request, the key it was signed with as an agent writes
// it, and what must be refused.
type WireSigned struct {
	Bytes   string       `json:"bytes"`
	Digest  canon.Digest `json:"digest"`
	Key     string       `json:"key"`
	Raw     string       `json:"raw"` // the key's 32 bytes, lower hex
	Refused []CanonBad   `json:"refused"`
}

// Snapshot is a snapshot and its digest.
type Snapshot struct {
	Bytes  string       `json:"bytes"`
	Digest canon.Digest `json:"digest"`
}

// wireKey makes the messenger's key of the vectors.
func (m *maker) wireKey() (nkeys.KeyPair, string) {
	k, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, sum("wire key").Bytes())
	m.note(err)
	public, err := k.PublicKey()
	m.note(err)
	return k, public
}

func (m *maker) wireFile() Wire {
	host := m.house.Hosts[0]
	k, public := m.wireKey()
	raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(public))
	m.note(err)
	secret, server := sum("token").Bytes(), sum("key of the server")
	token := wire.Token{Secret: secret, Server: server}.String()
	e := wire.Enrolment{Type: wire.TypeEnrolment, Secret: base64.StdEncoding.EncodeToString(secret), Public: host.Public, Wire: public, Name: canon.NoteOf("web-1")}
	e.Signature = hex.EncodeToString(ed25519.Sign(host.Key, e.Digest().Bytes()))
	p := wire.PassRequest{Type: wire.TypePass, Wire: public, Server: server, At: m.now}
	sig, err := k.Sign(p.Digest().Bytes())
	m.note(err)
	p.Signature = base64.StdEncoding.EncodeToString(sig)
	enrolment, pass, s := string(canon.MustEncode(e)), string(canon.MustEncode(p)), m.snapshot(host.ID)
	return Wire{About: "The way in for hosts: a token, the enrolment it is used for, a request for a pass; and an inventory as it is told. Signatures are over the 32 bytes of digest, which covers the request with an empty signature.",
		Token: WireToken{Text: token, Secret: hex.EncodeToString(secret), Server: server, Refused: []CanonBad{
			{"another version", "pwt2" + token[4:]}, {"a part more", token + ".x"}, {"a short secret", strings.Replace(token, ".", ".A", 1)}, {"no server", token[:len(token)-1]}}},
		Enrolment: WireSigned{enrolment, e.Digest(), host.Public, host.Public, []CanonBad{
			{"another name", strings.Replace(enrolment, "web-1", "web-2", 1)},
			{"another wire key", strings.Replace(enrolment, public, "U"+strings.Repeat("A", len(public)-1), 1)},
			{"another host key", strings.Replace(enrolment, host.Public, m.house.Hosts[1].Public, 1)},
			{"a short secret", strings.Replace(enrolment, e.Secret, "AA==", 1)}}},
		Pass: WireSigned{pass, p.Digest(), public, hex.EncodeToString(raw), []CanonBad{
			{"another time", strings.Replace(pass, fmt.Sprint(m.now), fmt.Sprint(m.now+1), 1)},
			{"another server", strings.Replace(pass, string(server), string(sum("another")), 1)},
			{"no signature", strings.Replace(pass, p.Signature, "", 1)}}},
		Snapshot: Snapshot{string(canon.MustEncode(s)), s.Digest()}, Before: Snapshot{string(canon.MustEncode(s.In(3))), s.In(3).Digest()}}
}

// snapshot is what a small host tells of itself.
func (m *maker) snapshot(id trust.HostID) wire.Snapshot {
	status := []canon.Note{
		canon.NoteOf("Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + from + "\n"),
		canon.NoteOf("Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl\nVersion: " + from + "\n"),
	}
	slices.Sort(status)
	return wire.Snapshot{Type: wire.TypeSnapshot, Host: id, OSRelease: canon.NoteOf("ID=debian\nVERSION_ID=\"12\"\n"), Arch: "amd64", Kernel: "6.1.0-42-amd64", Status: status,
		Origins:  []wire.PackageOrigin{{Package: "openssl:amd64", Origin: canon.NoteOf("Debian"), Suite: canon.NoteOf("stable")}},
		Services: []wire.Service{{Name: canon.NoteOf("nginx.service"), State: canon.NoteOf("active")}},
		Mapped: []inventory.Mapping{{Path: "/usr/lib/x86_64-linux-gnu/libssl.so.3", Inode: 131, Exec: true, Process: "nginx (pid 812)",
			Owners: []inventory.Owner{{Package: "libssl3:amd64", Source: "openssl"}}}}, Boot: "6f1f7c55-5d0c-4a63-9d0c-0d8f3a4a9d6b",
		MappedAt: m.now, Booted: m.now - 86_400, KernelAt: m.now - 172_800, KernelBuild: canon.NoteOf("#1 SMP PREEMPT_DYNAMIC Debian 6.1.180-1 (2026-09-01)")}
}

func (j *judge) wire() {
	var f Wire
	j.none(read(j.fsys, "wire.json", &f), "read")
	t, err := wire.ParseToken(f.Token.Text)
	j.want(err == nil && hex.EncodeToString(t.Secret) == f.Token.Secret && t.Server == f.Token.Server, "wire: token: %v", err)
	for _, r := range f.Token.Refused {
		_, err := wire.ParseToken(r.Bytes)
		j.want(err != nil, "wire: token: %s is taken", r.Name)
	}
	j.signed(f.Enrolment, "enrolment", func(text string) (canon.Digest, string, error) {
		var e wire.Enrolment
		if err := canon.Decode([]byte(text), &e); err != nil {
			return "", "", err
		}
		secret, err := e.Check()
		j.want(err != nil || string(secret) == string(t.Secret), "wire: enrolment: another secret than the token's")
		return e.Digest(), e.Public, err
	})
	j.signed(f.Pass, "pass", func(text string) (canon.Digest, string, error) {
		var p wire.PassRequest
		if err := canon.Decode([]byte(text), &p); err != nil {
			return "", "", err
		}
		raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(p.Wire))
		j.want(err == nil && hex.EncodeToString(raw) == f.Pass.Raw && p.Type == wire.TypePass, "wire: pass: another key: %v", err)
		key, err := nkeys.FromPublicKey(p.Wire)
		if err != nil {
			return "", "", err
		}
		sig, err := base64.StdEncoding.DecodeString(p.Signature)
		if err != nil {
			return "", "", err
		}
		return p.Digest(), p.Wire, key.Verify(p.Digest().Bytes(), sig)
	})
	var s wire.Snapshot
	j.none(canon.Decode([]byte(f.Snapshot.Bytes), &s), "wire: snapshot")
	j.want(s.Digest() == f.Snapshot.Digest && s.Type == wire.TypeSnapshot && slices.IsSorted(s.Status), "wire: snapshot: another digest")
	_, listed := s.Listed()
	j.want(listed, "wire: snapshot: its list of processes does not count")
	var before wire.Snapshot
	j.none(canon.Decode([]byte(f.Before.Bytes), &before), "wire: snapshot of protocol 3")
	j.want(before.Digest() == f.Before.Digest && len(before.Mapped) > 0 && !before.Mapped[0].Owned() && len(s.Mapped) > 0 && s.Mapped[0].Owned(),
		"wire: snapshot of protocol 3: another digest, or it is known whose its files were")
}

// signed judges a signed request and those that must be refused.
func (j *judge) signed(f WireSigned, what string, check func(string) (canon.Digest, string, error)) {
	d, key, err := check(f.Bytes)
	j.want(err == nil && d == f.Digest && key == f.Key, "wire: %s: %s, %v", what, d, err)
	for _, r := range f.Refused {
		_, _, err := check(r.Bytes)
		j.want(err != nil && r.Bytes != f.Bytes, "wire: %s: %s is taken", what, r.Name)
	}
	j.want(len(f.Refused) > 0, "wire: %s: nothing refused", what)
}
