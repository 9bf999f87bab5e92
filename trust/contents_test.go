package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal/explain"
	"github.com/patchwrit/patchwrit/trust"
)

// amend decodes a target, changes it, and has the keepers sign it. What comes
// out is canonical, so that only its meaning is judged.
func amend[T any](name string, change func(*T)) func(*scene) {
	return func(s *scene) {
		s.t.Helper()
		var v T
		if err := json.Unmarshal(s.body(name), &v); err != nil {
			s.t.Fatal(err)
		}
		change(&v)
		b, err := canon.Encode(v)
		if err != nil {
			s.t.Fatal(err)
		}
		s.target(name, b)
	}
}

func roster(change func(*trust.Roster)) func(*scene)     { return amend("roster.json", change) }
func hosts(change func(*trust.Hosts)) func(*scene)       { return amend("hosts.json", change) }
func origins(change func(*trust.Origins)) func(*scene)   { return amend("origins.json", change) }
func critical(change func(*trust.Critical)) func(*scene) { return amend("critical.json", change) }
func policy(change func(*trust.Policy)) func(*scene)     { return amend("policy.json", change) }

func TestRoster(t *testing.T) {
	credential := func(n int, change func(*trust.Credential)) func(*scene) {
		return roster(func(r *trust.Roster) { change(&r.People[0].Credentials[n]) })
	}
	ssh := slices.IndexFunc(house.Root.People[0].Credentials, func(c trust.Credential) bool { return c.Method == trust.SSH })
	pass := 1 - ssh
	security := func(c *trust.Credential) { c.Algorithm, c.Application = "sk-ssh-ed25519@openssh.com", "ssh:" }
	play(t, []attack{
		{"as it is", "", roster(func(*trust.Roster) {})},
		{"one more person", "", roster(func(r *trust.Roster) {
			r.People = append(r.People, trust.Person{ID: "p-9", Roles: []string{}, Credentials: []trust.Credential{}})
		})},
		{"one person twice", "PW-TRUST-ROSTER", roster(func(r *trust.Roster) { r.People[1].ID = r.People[0].ID })},
		{"people out of order", "PW-TRUST-ROSTER", roster(func(r *trust.Roster) { slices.Reverse(r.People) })},
		{"person without a name", "PW-TRUST-ROSTER", roster(func(r *trust.Roster) { r.People[0].ID = "" })},
		{"person with a blank in the id", "PW-TRUST-ROSTER", roster(func(r *trust.Roster) { r.People[0].ID = "p 1" })},
		{"role twice", "PW-TRUST-ROSTER", roster(func(r *trust.Roster) { r.People[1].Roles = []string{"owner", "owner", "security"} })},
		{"role without a name", "PW-TRUST-ROSTER", roster(func(r *trust.Roster) { r.People[1].Roles = []string{"", "owner", "security"} })},
		{"one key for two people", "PW-TRUST-ROSTER", roster(func(r *trust.Roster) { r.People[1].Credentials[0] = r.People[0].Credentials[0] })},
		{"one key twice for one person", "PW-TRUST-ROSTER", roster(func(r *trust.Roster) { r.People[0].Credentials[1] = r.People[0].Credentials[0] })},
		{"credential id of another key", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.ID = canon.SumFile(nil) })},
		{"key exchanged under its id", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.Public = house.People[2].SSHCredential().Public })},
		{"rsa", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.Algorithm = "ssh-rsa" })},
		{"no algorithm", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.Algorithm = "" })},
		{"passkey algorithm on an ssh key", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.Algorithm = "ES256" })},
		{"ssh algorithm on a passkey", "PW-TRUST-CREDENTIAL", credential(pass, func(c *trust.Credential) { c.Algorithm = "ssh-ed25519" })},
		{"RS256", "PW-TRUST-CREDENTIAL", credential(pass, func(c *trust.Credential) { c.Algorithm = "RS256" })},
		{"unknown method", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.Method = "totp" })},
		{"passkey without relying party", "PW-TRUST-CREDENTIAL", credential(pass, func(c *trust.Credential) { c.RelyingParty = "" })},
		{"passkey without origin", "PW-TRUST-CREDENTIAL", credential(pass, func(c *trust.Credential) { c.Origins = []string{} })},
		{"passkey with an application", "PW-TRUST-CREDENTIAL", credential(pass, func(c *trust.Credential) { c.Application = "ssh:" })},
		{"ssh key that claims a local page", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.RelyingParty = "localhost" })},
		{"security key without application", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.Algorithm = "sk-ssh-ed25519@openssh.com" })},
		{"ssh key with an origin", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.Origins = []string{"https://a.example"} })},
		{"security key", "", credential(ssh, security)},
		{"security key with an origin", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { security(c); c.Origins = []string{"https://a.example"} })},
		{"security key that claims a local page", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { security(c); c.RelyingParty = "localhost" })},
		{"security key as a passkey", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { security(c); c.Method = trust.WebAuthn })},
		{"passkey as an ssh key", "PW-TRUST-CREDENTIAL", credential(pass, func(c *trust.Credential) { c.Method = trust.SSH })},
		{"plain key with application", "PW-TRUST-CREDENTIAL", credential(ssh, func(c *trust.Credential) { c.Application = "ssh:" })},
	})
}

func TestThresholds(t *testing.T) {
	quorum := func(name string, change func(*trust.Quorum)) func(*scene) {
		return amend("thresholds.json", func(th *trust.Thresholds) {
			i := slices.IndexFunc(th.Quorums, func(q trust.Quorum) bool { return q.For == name })
			change(&th.Quorums[i])
		})
	}
	all := func(change func(*trust.Thresholds)) func(*scene) { return amend("thresholds.json", change) }
	one := func(q *trust.Quorum) { q.People, q.Roles = 1, []trust.RoleNeed{} }
	play(t, []attack{
		{"as they are", "", all(func(*trust.Thresholds) {})},
		{"halt by two", "", quorum("halt", func(q *trust.Quorum) { q.People = 2 })},
		{"solo, on purpose", "", all(func(th *trust.Thresholds) {
			th.Solo = true
			for i := range th.Quorums {
				one(&th.Quorums[i])
			}
		})},
		{"solo without the flag", "PW-TRUST-SOLO", all(func(th *trust.Thresholds) {
			for i := range th.Quorums {
				one(&th.Quorums[i])
			}
		})},
		{"one person for routine", "PW-TRUST-SOLO", quorum("routine", one)},
		{"one person lifts a halt", "PW-TRUST-SOLO", quorum("lift", one)},
		{"one person rolls back", "PW-TRUST-SOLO", quorum("rollback", one)},
		{"nobody halts", "PW-TRUST-QUORUM", quorum("halt", func(q *trust.Quorum) { q.People = 0 })},
		{"more roles than people", "PW-TRUST-QUORUM", quorum("rollback", func(q *trust.Quorum) {
			q.People, q.Roles = 2, []trust.RoleNeed{{Role: "owner", People: 2}, {Role: "security", People: 1}}
		})},
		{"role of nobody", "PW-TRUST-QUORUM", quorum("rollback", func(q *trust.Quorum) { q.Roles = []trust.RoleNeed{{Role: "owner", People: 0}} })},
		{"role without a name", "PW-TRUST-QUORUM", quorum("rollback", func(q *trust.Quorum) { q.Roles = []trust.RoleNeed{{Role: "", People: 1}} })},
		{"a role twice", "PW-TRUST-QUORUM", quorum("rollback", func(q *trust.Quorum) {
			q.Roles = []trust.RoleNeed{{Role: "owner", People: 1}, {Role: "owner", People: 1}}
		})},
		{"a thousand people", "PW-TRUST-QUORUM", quorum("rollback", func(q *trust.Quorum) { q.People = 1000 })},
		{"so many of a role that the sum overflows", "PW-TRUST-QUORUM", quorum("rollback", func(q *trust.Quorum) {
			q.Roles = []trust.RoleNeed{{Role: "a", People: canon.MaxInt}, {Role: "b", People: canon.MaxInt}}
		})},
		{"nine roles", "PW-TRUST-QUORUM", quorum("halt", func(q *trust.Quorum) {
			q.People, q.Roles = 9, nil
			for i := range 9 {
				q.Roles = append(q.Roles, trust.RoleNeed{Role: fmt.Sprintf("r%d", i), People: 1})
			}
		})},
		{"no quorum at all", "PW-TRUST-QUORUM", all(func(th *trust.Thresholds) { th.Quorums = []trust.Quorum{} })},
		{"rollback missing", "PW-TRUST-QUORUM", all(func(th *trust.Thresholds) {
			th.Quorums = slices.DeleteFunc(th.Quorums, func(q trust.Quorum) bool { return q.For == "rollback" })
		})},
		{"routine twice", "PW-TRUST-QUORUM", all(func(th *trust.Thresholds) { th.Quorums = append(th.Quorums, th.Quorums[6]) })},
		{"an unknown one", "PW-TRUST-QUORUM", quorum("lift", func(q *trust.Quorum) { q.For = "login" })},
		{"critical needs less than sensitive", "PW-TRUST-QUORUM", quorum("critical", func(q *trust.Quorum) { q.Roles = []trust.RoleNeed{} })},
		{"sensitive needs less than routine", "PW-TRUST-QUORUM", quorum("routine", func(q *trust.Quorum) { q.People = 3 })},
		{"critical needs fewer of a role", "PW-TRUST-QUORUM", all(func(th *trust.Thresholds) {
			for i := range th.Quorums {
				switch q := &th.Quorums[i]; q.For {
				case "sensitive", "grant":
					q.People, q.Roles = 3, []trust.RoleNeed{{Role: "owner", People: 2}, {Role: "security", People: 1}}
				case "critical":
					q.People = 3
				}
			}
		})},
		{"a grant needs less than sensitive", "PW-TRUST-QUORUM", quorum("grant", func(q *trust.Quorum) { q.Roles = q.Roles[:1] })},
		{"critical needs another role instead", "PW-TRUST-QUORUM", quorum("critical", func(q *trust.Quorum) { q.Roles[1].Role = "vendor" })},
		{"more people than there are", "PW-TRUST-UNREACHABLE", quorum("critical", func(q *trust.Quorum) { q.People = 4 })},
		{"a role nobody has", "PW-TRUST-UNREACHABLE", quorum("lift", func(q *trust.Quorum) { q.Roles = []trust.RoleNeed{{Role: "auditor", People: 1}} })},
		{"two of a role that one has", "PW-TRUST-UNREACHABLE", quorum("lift", func(q *trust.Quorum) { q.Roles = []trust.RoleNeed{{Role: "security", People: 2}} })},
	})
}

func TestReachable(t *testing.T) {
	revoke := func(people int, methods ...trust.Method) func(*scene) {
		return roster(func(r *trust.Roster) {
			for i := range people {
				for j := range r.People[i].Credentials {
					c := &r.People[i].Credentials[j]
					c.Revoked = slices.Contains(methods, c.Method)
				}
			}
		})
	}
	elsewhere := func(revoked bool) func(*scene) {
		return roster(func(r *trust.Roster) {
			for i := range r.People {
				for j := range r.People[i].Credentials {
					c := &r.People[i].Credentials[j]
					if c.Method == trust.WebAuthn {
						c.RelyingParty, c.Origins = "console.example", []string{"https://console.example"}
					} else {
						c.Revoked = revoked
					}
				}
			}
		})
	}
	play(t, []attack{
		{"one person lost both keys", "", revoke(1, trust.SSH, trust.WebAuthn)},
		{"the one with the role lost both keys", "PW-TRUST-UNREACHABLE", revoke(2, trust.SSH, trust.WebAuthn)},
		{"everybody lost the ssh key", "", revoke(3, trust.SSH)},
		{"every passkey is the console's", "", elsewhere(false)},
		{"nobody has a view of their own", "PW-TRUST-UNREACHABLE", elsewhere(true)},
		{"nobody is there", "PW-TRUST-UNREACHABLE", roster(func(r *trust.Roster) { r.People = []trust.Person{} })},
	})
}

func TestHosts(t *testing.T) {
	label := func(labels ...trust.Label) func(*scene) {
		return hosts(func(h *trust.Hosts) { h.Hosts[0].Labels = labels })
	}
	play(t, []attack{
		{"as they are", "", hosts(func(*trust.Hosts) {})},
		{"none", "", hosts(func(h *trust.Hosts) { h.Hosts = []trust.Host{} })},
		{"two labels", "", label(trust.Label{Key: "env", Value: "test"}, trust.Label{Key: "zone", Value: "eu-1"})},
		{"id of another key", "PW-TRUST-HOSTS", hosts(func(h *trust.Hosts) { h.Hosts[0].Public = h.Hosts[1].Public })},
		{"ids exchanged", "PW-TRUST-HOSTS", hosts(func(h *trust.Hosts) { h.Hosts[0].ID, h.Hosts[1].ID = h.Hosts[1].ID, h.Hosts[0].ID })},
		{"no key", "PW-TRUST-HOSTS", hosts(func(h *trust.Hosts) { h.Hosts[0].Public, h.Hosts[0].ID = "", trust.HostOf(nil) })},
		{"short key", "PW-TRUST-HOSTS", hosts(func(h *trust.Hosts) { h.Hosts[0].Public, h.Hosts[0].ID = "00", trust.HostOf([]byte{0}) })},
		{"key in capitals", "PW-TRUST-HOSTS", hosts(func(h *trust.Hosts) { h.Hosts[0].Public = strings.ToUpper(h.Hosts[0].Public) })},
		{"one host twice", "PW-TRUST-HOSTS", hosts(func(h *trust.Hosts) { h.Hosts[1] = h.Hosts[0] })},
		{"out of order", "PW-TRUST-HOSTS", hosts(func(h *trust.Hosts) { slices.Reverse(h.Hosts) })},
		{"no fault domain", "PW-TRUST-HOSTS", hosts(func(h *trust.Hosts) { h.Hosts[0].Domain = "" })},
		{"a key with two values", "PW-TRUST-HOSTS", label(trust.Label{Key: "env", Value: "prod"}, trust.Label{Key: "env", Value: "test"})},
		{"label without value", "PW-TRUST-HOSTS", label(trust.Label{Key: "env"})},
		{"label with a blank", "PW-TRUST-HOSTS", label(trust.Label{Key: "env", Value: "a b"})},
		{"label without key", "PW-TRUST-HOSTS", label(trust.Label{Value: "x"})},
		{"endless label", "PW-TRUST-HOSTS", label(trust.Label{Key: "env", Value: strings.Repeat("x", 129)})},
	})
}

func TestOrigins(t *testing.T) {
	first := func(change func(*trust.Origin)) func(*scene) {
		return origins(func(o *trust.Origins) { change(&o.Origins[0]) })
	}
	play(t, []attack{
		{"as they are", "", origins(func(*trust.Origins) {})},
		{"no signer", "PW-TRUST-ORIGIN", first(func(o *trust.Origin) { o.Signers = 0 })},
		{"more signers than any vendor has", "PW-TRUST-ORIGIN", first(func(o *trust.Origin) { o.Signers = 17 })},
		{"keyring that is not there", "PW-TRUST-TARGET", first(func(o *trust.Origin) { o.Keyring = "none.gpg" })},
		{"no keyring", "PW-TRUST-TARGET", first(func(o *trust.Origin) { o.Keyring = "" })},
		{"keyring elsewhere", "PW-TRUST-TARGET", first(func(o *trust.Origin) { o.Keyring = "../roster.json" })},
		{"keyring with a blank in its name", "PW-TRUST-ORIGIN", func(s *scene) {
			s.target("keyrings/a b", []byte("x"))
			first(func(o *trust.Origin) { o.Keyring = "a b" })(s)
		}},
		{"empty keyring", "PW-TRUST-ORIGIN", func(s *scene) { s.target("keyrings/vendor.gpg", nil) }},
		{"no codename", "PW-TRUST-ORIGIN", first(func(o *trust.Origin) { o.Codename = "" })},
		{"no label", "PW-TRUST-ORIGIN", first(func(o *trust.Origin) { o.Label = "" })},
		{"no suite", "PW-TRUST-ORIGIN", first(func(o *trust.Origin) { o.Suites = []string{} })},
		{"empty suite", "PW-TRUST-ORIGIN", first(func(o *trust.Origin) { o.Suites = []string{"stable", ""} })},
		{"no section", "PW-TRUST-ORIGIN", first(func(o *trust.Origin) { o.Sections = []string{} })},
		{"malformed id", "PW-TRUST-ORIGIN", first(func(o *trust.Origin) { o.ID = "-x" })},
		{"one origin twice", "PW-TRUST-ORIGIN", origins(func(o *trust.Origins) { o.Origins[1].ID = o.Origins[0].ID })},
		{"out of order", "PW-TRUST-ORIGIN", origins(func(o *trust.Origins) { slices.Reverse(o.Origins) })},
	})
}

func TestWitnessesCriticalPolicy(t *testing.T) {
	der, err := x509.MarshalPKIXPublicKey(house.Keepers[0].Public())
	if err != nil {
		t.Fatal(err)
	}
	key := string(canon.NoteOf(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))))
	private := string(canon.NoteOf(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))))
	witness := func(from, to string) func(*scene) {
		return func(s *scene) {
			b := s.body("witness.policy")
			if !bytes.Contains(b, []byte(from)) {
				t.Fatalf("no %q in the policy", from)
			}
			s.target("witness.policy", bytes.Replace(b, []byte(from), []byte(to), 1))
		}
	}
	play(t, []attack{
		{"quorum none", "PW-TRUST-WITNESSES", witness("quorum witnesses", "quorum none")},
		{"no quorum", "PW-TRUST-WITNESSES", witness("quorum witnesses\n", "")},
		{"empty policy", "PW-TRUST-WITNESSES", func(s *scene) { s.target("witness.policy", nil) }},
		{"all witnesses", "", witness("group witnesses 2", "group witnesses all")},
		{"agent not on the critical list", "PW-TRUST-CRITICAL", critical(func(c *trust.Critical) {
			c.Packages = slices.DeleteFunc(c.Packages, func(p string) bool { return strings.HasPrefix(p, "patchwrit") })
		})},
		{"agent by its exact name", "", critical(func(c *trust.Critical) { c.Packages = []string{trust.AgentPackage} })},
		{"everything critical", "", critical(func(c *trust.Critical) { c.Packages = []string{"*"} })},
		{"relative path", "PW-TRUST-CRITICAL", critical(func(c *trust.Critical) { c.Paths = append(c.Paths, "boot/") })},
		{"empty path", "PW-TRUST-CRITICAL", critical(func(c *trust.Critical) { c.Paths = append(c.Paths, "") })},
		{"policy pinned", "", policy(func(p *trust.Policy) { p.Bundle, p.Key = canon.SumFile(nil), key })},
		{"bundle without key", "PW-TRUST-POLICY", policy(func(p *trust.Policy) { p.Bundle = canon.SumFile(nil) })},
		{"key without bundle", "PW-TRUST-POLICY", policy(func(p *trust.Policy) { p.Key = key })},
		{"bundle that is no digest", "PW-TRUST-POLICY", policy(func(p *trust.Policy) { p.Bundle, p.Key = "abc", key })},
		{"private key pinned", "PW-TRUST-POLICY", policy(func(p *trust.Policy) { p.Bundle, p.Key = canon.SumFile(nil), private })},
		{"two keys", "PW-TRUST-POLICY", policy(func(p *trust.Policy) { p.Bundle, p.Key = canon.SumFile(nil), key+key })},
	})
}

// TestSaysWhatTheFilesSay compares the loaded root with the house it was made of.
func TestSaysWhatTheFilesSay(t *testing.T) {
	r := house.Root
	if r.ID != house.Pinned || (r.Versions != trust.Versions{Root: 1, Timestamp: 1, Snapshot: 1, Targets: 1, Hosts: 1}) || r.Solo {
		t.Errorf("%+v", r)
	}
	for _, want := range house.People {
		p, ok := r.Person(want.ID)
		if !ok || !slices.Equal(p.Roles, want.Roles) || len(p.Credentials) != 2 {
			t.Errorf("person %s: %+v", want.ID, p)
		}
		for _, c := range p.Credentials {
			if c.Method == trust.WebAuthn {
				point, err := hex.DecodeString(c.Public)
				if err != nil {
					t.Fatal(err)
				}
				if key, err := ecdsa.ParseUncompressedPublicKey(want.Passkey.Curve, point); err != nil || !key.Equal(&want.Passkey.PublicKey) {
					t.Errorf("%s: another passkey: %v", want.ID, err)
				}
			}
		}
	}
	for _, want := range house.Hosts {
		h, ok := r.Host(want.ID)
		key, err := hex.DecodeString(h.Public)
		if !ok || err != nil || !want.Key.Public().(ed25519.PublicKey).Equal(ed25519.PublicKey(key)) || h.Domain != want.Domain {
			t.Errorf("host %s: %+v", want.ID, h)
		}
	}
	for _, name := range trust.QuorumNames {
		if q, ok := r.Quorum(name); !ok || q.For != name {
			t.Errorf("quorum %s: %+v", name, q)
		}
	}
	if o, ok := r.Origin("debian-security"); !ok || o.Label != "Debian-Security" || len(r.Keyrings[o.Keyring]) == 0 {
		t.Errorf("origin: %+v", o)
	}
	for _, unknown := range []bool{second(r.Person("p-404")), second(r.Host(canon.SumFile(nil))), second(r.Quorum("login")), second(r.Origin("ppa"))} {
		if unknown {
			t.Error("the root knows what nobody signed for")
		}
	}
}

func second[T any](_ T, ok bool) bool { return ok }

// TestZeroRootTrustsNothing fills every field but the one only Load can.
func TestZeroRootTrustsNothing(t *testing.T) {
	forged := house.Root
	var made trust.Root
	made.ID, made.People, made.Quorums, made.Hosts, made.Origins = forged.ID, forged.People, forged.Quorums, forged.Hosts, forged.Origins
	made.Solo, made.Versions, made.Keyrings, made.Critical, made.Witnesses = forged.Solo, forged.Versions, forged.Keyrings, forged.Critical, forged.Witnesses
	for _, r := range []trust.Root{{}, made} {
		if r.Loaded() || second(r.Person(house.People[0].ID)) || second(r.Host(house.Hosts[0].ID)) || second(r.Quorum("halt")) || second(r.Origin("debian-main")) {
			t.Errorf("a root that was not loaded answers: %+v", r)
		}
	}
}

func TestCatalogueNamesEveryCode(t *testing.T) {
	for _, e := range explain.All() {
		if strings.HasPrefix(string(e.Code), "PW-TRUST-") && (e.Title == "" || e.Text == "" || e.Next == "") {
			t.Errorf("%s is incomplete", e.Code)
		}
	}
}
