package trust_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

func seeded(n byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{n}) }

// house is one house for every test of the package; a test changes its own copy
// of the files.
var house = trusttest.Must(seeded(7), trusttest.Options{})

// keepers are as many of them as must sign.
var keepers = house.Keepers[:2]

// stranger is a key that no root names.
var stranger = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))

// scene is a copy of the house's files under attack.
type scene struct {
	t    testing.TB
	fs   fstest.MapFS
	pin  canon.Digest
	prev trust.Versions
	now  time.Time
}

func newScene(t testing.TB) *scene {
	return &scene{t: t, fs: maps.Clone(house.FS), pin: house.Pinned, now: house.Now}
}

func (s *scene) load() (trust.Root, error) { return trust.Load(s.fs, s.pin, s.prev, s.now) }

func (s *scene) put(name string, b []byte) { s.fs[name] = &fstest.MapFile{Data: b, Mode: 0o444} }

// edit changes text inside a file.
func (s *scene) edit(name, from, to string) {
	s.t.Helper()
	b := s.fs[name].Data
	if !bytes.Contains(b, []byte(from)) {
		s.t.Fatalf("%s does not hold %q", name, from)
	}
	s.put(name, bytes.Replace(b, []byte(from), []byte(to), 1))
}

// resign changes a metadata file and signs it with these keys only.
func resign[T metadata.Roles](s *scene, name string, keys []ed25519.PrivateKey, change func(*T)) {
	s.t.Helper()
	m, err := new(metadata.Metadata[T]).FromBytes(s.fs[name].Data)
	if err != nil {
		s.t.Fatal(err)
	}
	change(&m.Signed)
	m.Signatures = nil
	for _, k := range keys {
		signer, err := signature.LoadSigner(k, crypto.Hash(0))
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := m.Sign(signer); err != nil {
			s.t.Fatal(err)
		}
	}
	b, err := m.ToBytes(false)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(name, b)
	if name == "1.targets.json" || name == "1.hosts.json" {
		s.relink(keepers)
	}
}

// relink makes the snapshot speak of targets and hosts as they now are.
func (s *scene) relink(keys []ed25519.PrivateKey) {
	resign(s, "1.snapshot.json", keys, func(m *metadata.SnapshotType) {
		for _, role := range []string{"targets", "hosts"} {
			b := s.fs["1."+role+".json"].Data
			m.Meta[role+".json"].Length, m.Meta[role+".json"].Hashes = int64(len(b)), metadata.Hashes{"sha256": canon.SumFile(b).Bytes()}
		}
	})
	s.seal(keys)
}

// seal makes timestamp.json speak of the snapshot as it now is.
func (s *scene) seal(keys []ed25519.PrivateKey) {
	resign(s, "timestamp.json", keys, func(t *metadata.TimestampType) {
		info := t.Meta["snapshot.json"]
		b := s.fs[fmt.Sprintf("%d.snapshot.json", info.Version)].Data
		info.Length, info.Hashes = int64(len(b)), metadata.Hashes{"sha256": canon.SumFile(b).Bytes()}
	})
}

// target replaces a target's bytes and signs for them as the keepers would.
func (s *scene) target(name string, b []byte) {
	role := "1.targets.json"
	if name == "hosts.json" {
		role = "1.hosts.json"
	}
	resign(s, role, keepers, func(t *metadata.TargetsType) {
		t.Targets[name] = &metadata.TargetFiles{Length: int64(len(b)), Hashes: metadata.Hashes{"sha256": canon.SumFile(b).Bytes()}}
	})
	s.put(path.Join("targets", path.Dir(name), string(canon.SumFile(b))+"."+path.Base(name)), b)
}

// file is where the bytes of a target lie.
func (s *scene) file(name string) string {
	found := slices.Sorted(maps.Keys(s.fs))
	i := slices.IndexFunc(found, func(f string) bool {
		return strings.HasPrefix(f, "targets/") && strings.HasSuffix(f, "."+path.Base(name))
	})
	if i < 0 {
		s.t.Fatalf("no file for %s", name)
	}
	return found[i]
}

func (s *scene) body(name string) []byte { return s.fs[s.file(name)].Data }

// refused wants exactly this code.
func refused(t *testing.T, err error, code refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != code {
		t.Errorf("refused with %q (%v), wanted is %s", got, err, code)
	}
	if r := new(refusal.Refusal); errors.As(err, &r) && explain.Of(r.Code).Title == "refused" {
		t.Errorf("%s is not in the catalogue", r.Code)
	}
}

type attack struct {
	name string
	code refusal.Code // "" when the scene must load
	do   func(*scene)
}

func play(t *testing.T, attacks []attack) {
	if r, err := newScene(t).load(); err != nil || !r.Loaded() {
		t.Fatalf("the untouched twin does not load: %v", err)
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			a.do(s)
			r, err := s.load()
			if a.code == "" {
				if err != nil || !r.Loaded() {
					t.Errorf("does not load: %v", err)
				}
				return
			}
			refused(t, err, a.code)
			if !reflect.DeepEqual(r, trust.Root{}) {
				t.Errorf("a refused root is not the zero Root: %+v", r)
			}
		})
	}
}

func TestSignatures(t *testing.T) {
	one, two := house.Keepers[:1], house.Keepers[:2]
	keep := func(*metadata.TimestampType) {}
	play(t, []attack{
		{"nobody touches it", "", func(s *scene) {}},
		{"two of three keepers", "", func(s *scene) { resign(s, "timestamp.json", two, keep) }},
		{"wrong pin", "PW-TRUST-PIN", func(s *scene) { s.pin = canon.SumFile([]byte("another house")) }},
		{"a first root that its own keepers did not sign", "PW-TRUST-SIGNATURE", func(s *scene) {
			resign(s, "1.root.json", one, func(*metadata.RootType) {})
			s.pin = canon.SumFile(s.fs["1.root.json"].Data)
		}},
		{"empty pin", "PW-TRUST-PIN", func(s *scene) { s.pin = "" }},
		{"first root changed", "PW-TRUST-PIN", func(s *scene) { s.edit("1.root.json", `"threshold":2`, `"threshold":1`) }},
		{"one of two signatures", "PW-TRUST-SIGNATURE", func(s *scene) { resign(s, "timestamp.json", one, keep) }},
		{"one of two on the snapshot", "PW-TRUST-SIGNATURE", func(s *scene) {
			resign(s, "1.snapshot.json", one, func(*metadata.SnapshotType) {})
			s.seal(two)
		}},
		{"one of two on targets", "PW-TRUST-SIGNATURE", func(s *scene) { resign(s, "1.targets.json", one, func(*metadata.TargetsType) {}) }},
		{"one of two on hosts", "PW-TRUST-SIGNATURE", func(s *scene) { resign(s, "1.hosts.json", one, func(*metadata.TargetsType) {}) }},
		{"no signature", "PW-TRUST-SIGNATURE", func(s *scene) { resign(s, "timestamp.json", nil, keep) }},
		{"one signature twice under one key", "PW-TRUST-METADATA", func(s *scene) { s.double("timestamp.json", func(sig, _ map[string]any) any { return sig["keyid"] }) }},
		{"one signature twice under two keys", "PW-TRUST-SIGNATURE", func(s *scene) {
			s.double("timestamp.json", func(_, other map[string]any) any { return other["keyid"] })
		}},
		{"foreign key", "PW-TRUST-SIGNATURE", func(s *scene) { resign(s, "timestamp.json", []ed25519.PrivateKey{stranger, house.Keepers[0]}, keep) }},
		{"first snapshot without lengths and hashes, which TUF allows", "", func(s *scene) {
			resign(s, "1.snapshot.json", keepers, func(m *metadata.SnapshotType) {
				m.Meta = map[string]*metadata.MetaFiles{"hosts.json": metadata.MetaFile(1), "targets.json": metadata.MetaFile(1)}
			})
			s.seal(two)
		}},
		{"changed after signing", "PW-TRUST-SIGNATURE", func(s *scene) { s.edit("timestamp.json", `"version":1`, `"version":7`) }},
		{"hosts signed for by a key of their own", "PW-TRUST-SIGNATURE", func(s *scene) {
			resign(s, "1.hosts.json", []ed25519.PrivateKey{stranger}, func(*metadata.TargetsType) {})
		}},
	})
}

// double leaves one keeper's signature, twice.
func (s *scene) double(name string, id func(sig, other map[string]any) any) {
	var doc map[string]any
	if err := json.Unmarshal(s.fs[name].Data, &doc); err != nil {
		s.t.Fatal(err)
	}
	sigs := doc["signatures"].([]any)
	first := sigs[0].(map[string]any)
	again := map[string]any{"sig": first["sig"], "keyid": id(first, sigs[1].(map[string]any))}
	doc["signatures"] = []any{first, again}
	b, err := json.Marshal(doc)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(name, b)
}

func TestExpiry(t *testing.T) {
	soon := house.Now.Add(time.Hour)
	late := func(s *scene) { s.now = soon.Add(time.Second) }
	expire := map[string]func(*scene){
		"timestamp": func(s *scene) {
			resign(s, "timestamp.json", keepers, func(m *metadata.TimestampType) { m.Expires = soon })
		},
		"snapshot": func(s *scene) {
			resign(s, "1.snapshot.json", keepers, func(m *metadata.SnapshotType) { m.Expires = soon })
			s.seal(keepers)
		},
		"targets": func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) { m.Expires = soon })
		},
		"hosts": func(s *scene) {
			resign(s, "1.hosts.json", keepers, func(m *metadata.TargetsType) { m.Expires = soon })
		},
		"root": func(s *scene) {
			resign(s, "1.root.json", keepers, func(m *metadata.RootType) { m.Expires = soon })
			s.pin = canon.SumFile(s.fs["1.root.json"].Data)
		},
	}
	for name, set := range expire {
		play(t, []attack{
			{name + " in force until its end", "", func(s *scene) { set(s); s.now = soon }},
			{name + " expired", "PW-TRUST-EXPIRED", func(s *scene) { set(s); late(s) }},
		})
	}
}

// TestTheClockIsNow shows that go-tuf's own look at the clock decides nothing:
// the same files load in any year before their end, and in none after.
func TestTheClockIsNow(t *testing.T) {
	play(t, []attack{
		{"year 1", "", func(s *scene) { s.now = time.Time{} }},
		{"1970", "", func(s *scene) { s.now = time.Unix(0, 0) }},
		{"2200", "PW-TRUST-EXPIRED", func(s *scene) { s.now = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) }},
	})
}

func TestRollback(t *testing.T) {
	now := house.Root.Versions
	higher := map[string]func(*trust.Versions){
		"root": func(v *trust.Versions) { v.Root++ }, "timestamp": func(v *trust.Versions) { v.Timestamp++ }, "snapshot": func(v *trust.Versions) { v.Snapshot++ },
		"targets": func(v *trust.Versions) { v.Targets++ }, "hosts": func(v *trust.Versions) { v.Hosts++ },
	}
	play(t, []attack{{"the same versions again", "", func(s *scene) { s.prev = now }}})
	for name, up := range higher {
		play(t, []attack{{name + " below what was seen", "PW-TRUST-ROLLBACK", func(s *scene) { s.prev = now; up(&s.prev) }}})
	}
}

// next is the house's repository after an update, on top of the first files.
func next(t testing.TB, edit func(*ceremony.Contents) error) fstest.MapFS {
	t.Helper()
	dir := t.TempDir()
	for name, f := range house.FS {
		writeFile(t, dir, name, f.Data)
	}
	if _, err := ceremony.Update(dir, house.Signing(), edit); err != nil {
		t.Fatal(err)
	}
	return readDir(t, dir)
}

func dropHost(c *ceremony.Contents) error {
	c.Hosts = c.Hosts[:1]
	return nil
}

func revokeFirst(c *ceremony.Contents) error { return c.Revoke(c.People[0].Credentials[0].ID) }

// TestMixAndMatch puts files of two honest versions together.
func TestMixAndMatch(t *testing.T) {
	hosts, roster := next(t, dropHost), next(t, revokeFirst)
	other := next(t, func(c *ceremony.Contents) error { return c.Revoke(c.People[1].Credentials[1].ID) })
	old := house.FS
	onto := func(s *scene, files fstest.MapFS) { s.fs = maps.Clone(files) }
	play(t, []attack{
		{"newer hosts", "", func(s *scene) { onto(s, hosts) }},
		{"newer roster", "", func(s *scene) { onto(s, roster) }},
		{"old timestamp over new files, nothing seen before", "", func(s *scene) { onto(s, hosts); s.fs["timestamp.json"] = old["timestamp.json"] }},
		{"old timestamp over new files", "PW-TRUST-ROLLBACK", func(s *scene) {
			onto(s, hosts)
			s.prev = trust.Versions{Root: 1, Timestamp: 2, Snapshot: 2, Targets: 1, Hosts: 2}
			s.fs["timestamp.json"] = old["timestamp.json"]
		}},
		{"old snapshot under the new name", "PW-TRUST-MIX", func(s *scene) { onto(s, hosts); s.fs["2.snapshot.json"] = old["1.snapshot.json"] }},
		{"another update's snapshot", "PW-TRUST-MIX", func(s *scene) { onto(s, hosts); s.fs["2.snapshot.json"] = roster["2.snapshot.json"] }},
		{"old hosts under the new name", "PW-TRUST-MIX", func(s *scene) { onto(s, hosts); s.fs["2.hosts.json"] = old["1.hosts.json"] }},
		{"old targets under the new name", "PW-TRUST-MIX", func(s *scene) { onto(s, roster); s.fs["2.targets.json"] = old["1.targets.json"] }},
		{"targets in the place of hosts", "PW-TRUST-MIX", func(s *scene) { s.fs["1.hosts.json"] = old["1.targets.json"] }},
		{"hosts in the place of targets", "PW-TRUST-MIX", func(s *scene) { s.fs["1.targets.json"] = old["1.hosts.json"] }},
		{"targets in the place of hosts, and a snapshot that says so", "PW-TRUST-TARGET", func(s *scene) { s.fs["1.hosts.json"] = old["1.targets.json"]; s.relink(keepers) }},
		{"hosts in the place of targets, and a snapshot that says so", "PW-TRUST-DELEGATION", func(s *scene) { s.fs["1.targets.json"] = old["1.hosts.json"]; s.relink(keepers) }},
		{"targets of the same version from a ceremony that broke off", "PW-TRUST-MIX", func(s *scene) {
			onto(s, roster)
			s.fs["2.targets.json"] = other["2.targets.json"]
			for name, f := range other {
				if strings.HasPrefix(name, "targets/") {
					s.fs[name] = f
				}
			}
		}},
		{"snapshot in the place of timestamp", "PW-TRUST-METADATA", func(s *scene) { s.fs["timestamp.json"] = old["1.snapshot.json"] }},
	})
}

func TestRotation(t *testing.T) {
	heirs := []ed25519.PrivateKey{stranger, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))}
	handOver := func(s *scene, version int64, keys ...ed25519.PrivateKey) {
		s.fs["2.root.json"] = s.fs["1.root.json"]
		resign(s, "2.root.json", keys, func(m *metadata.RootType) {
			m.Version, m.Keys = version, map[string]*metadata.Key{}
			for _, role := range m.Roles {
				role.KeyIDs = nil
			}
			for _, heir := range heirs {
				key, err := metadata.KeyFromPublicKey(heir.Public())
				if err != nil {
					t.Fatal(err)
				}
				for role := range m.Roles {
					if err := m.AddKey(key, role); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
		resign(s, "1.targets.json", slices.Concat(house.Keepers, heirs), func(*metadata.TargetsType) {})
		s.relink(slices.Concat(house.Keepers, heirs))
	}
	both := slices.Concat(house.Keepers[:2], heirs)
	play(t, []attack{
		{"old and new keepers sign", "", func(s *scene) { handOver(s, 2, both...) }},
		{"only the old keepers sign", "PW-TRUST-ROTATION", func(s *scene) { handOver(s, 2, house.Keepers...) }},
		{"only the new keepers sign", "PW-TRUST-ROTATION", func(s *scene) { handOver(s, 2, heirs...) }},
		{"one old keeper too few", "PW-TRUST-ROTATION", func(s *scene) { handOver(s, 2, slices.Concat(house.Keepers[:1], heirs)...) }},
		{"one new keeper too few", "PW-TRUST-ROTATION", func(s *scene) { handOver(s, 2, slices.Concat(house.Keepers, heirs[:1])...) }},
		{"a version left out", "PW-TRUST-ROTATION", func(s *scene) { handOver(s, 3, both...) }},
		{"the first root again", "PW-TRUST-ROTATION", func(s *scene) { s.fs["2.root.json"] = s.fs["1.root.json"] }},
		{"the new root withheld from who has seen it", "PW-TRUST-ROLLBACK", func(s *scene) {
			handOver(s, 2, both...)
			s.prev = trust.Versions{Root: 2, Timestamp: 1, Snapshot: 1, Targets: 1, Hosts: 1}
			delete(s.fs, "2.root.json")
		}},
		{"old keepers go on alone", "PW-TRUST-SIGNATURE", func(s *scene) {
			handOver(s, 2, both...)
			resign(s, "timestamp.json", keepers, func(*metadata.TimestampType) {})
		}},
		{"the pinned file says another version", "PW-TRUST-METADATA", func(s *scene) {
			resign(s, "1.root.json", keepers, func(m *metadata.RootType) { m.Version = 5 })
			s.pin = canon.SumFile(s.fs["1.root.json"].Data)
		}},
	})
}

// TestFastForward records what a jump costs: nothing is refused for being far
// ahead, since only the threshold of keepers can sign it, and everything below
// is refused afterwards. The way back is that keepers reset the reader's memory.
func TestFastForward(t *testing.T) {
	jump := func(s *scene, version int64) {
		resign(s, "timestamp.json", keepers, func(m *metadata.TimestampType) { m.Version = version })
	}
	play(t, []attack{
		{"to the highest version", "", func(s *scene) { jump(s, canon.MaxInt) }},
		{"back from the highest version", "PW-TRUST-ROLLBACK", func(s *scene) {
			s.prev = house.Root.Versions
			s.prev.Timestamp = canon.MaxInt
		}},
		{"beyond the highest version", "PW-TRUST-METADATA", func(s *scene) { jump(s, canon.MaxInt+1) }},
		{"to version 0", "PW-TRUST-METADATA", func(s *scene) { jump(s, 0) }},
		{"below 0", "PW-TRUST-METADATA", func(s *scene) { jump(s, -1) }},
	})
}

func TestDelegation(t *testing.T) {
	edit := func(change func(*metadata.Delegations)) func(*scene) {
		return func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) { change(m.Delegations) })
		}
	}
	play(t, []attack{
		{"no delegation", "PW-TRUST-DELEGATION", func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) { m.Delegations = nil })
		}},
		{"an unknown role besides", "PW-TRUST-DELEGATION", edit(func(d *metadata.Delegations) {
			more := d.Roles[0]
			more.Name, more.Paths = "extra", []string{"roster.json"}
			d.Roles = append(d.Roles, more)
		})},
		{"the role twice", "PW-TRUST-DELEGATION", edit(func(d *metadata.Delegations) { d.Roles = append(d.Roles, d.Roles[0]) })},
		{"another name", "PW-TRUST-DELEGATION", edit(func(d *metadata.Delegations) { d.Roles[0].Name = "machines" })},
		{"more paths", "PW-TRUST-DELEGATION", edit(func(d *metadata.Delegations) { d.Roles[0].Paths = []string{"hosts.json", "roster.json"} })},
		{"paths by hash", "PW-TRUST-DELEGATION", edit(func(d *metadata.Delegations) { d.Roles[0].Paths, d.Roles[0].PathHashPrefixes = nil, []string{""} })},
		{"succinct roles", "PW-TRUST-DELEGATION", edit(func(d *metadata.Delegations) {
			d.Roles, d.SuccinctRoles = nil, &metadata.SuccinctRoles{KeyIDs: d.Roles[0].KeyIDs, Threshold: 1, BitLength: 1, NamePrefix: "hosts"}
		})},
		{"a role in the snapshot that nobody delegated to", "PW-TRUST-DELEGATION", func(s *scene) {
			resign(s, "1.snapshot.json", keepers, func(m *metadata.SnapshotType) { m.Meta["extra.json"] = metadata.MetaFile(1) })
			s.seal(keepers)
		}},
		{"no hosts in the snapshot", "PW-TRUST-DELEGATION", func(s *scene) {
			resign(s, "1.snapshot.json", keepers, func(m *metadata.SnapshotType) { delete(m.Meta, "hosts.json") })
			s.seal(keepers)
		}},
		{"threshold 0", "PW-TRUST-METADATA", edit(func(d *metadata.Delegations) { d.Roles[0].Threshold = 0 })},
	})
}

func TestMalformedMetadata(t *testing.T) {
	roots := manyRoots(newScene(t), 129)
	big := bytes.Repeat([]byte(" "), 1<<20+1)
	play(t, []attack{
		{"no first root", "PW-TRUST-FILE", func(s *scene) { delete(s.fs, "1.root.json") }},
		{"no timestamp", "PW-TRUST-FILE", func(s *scene) { delete(s.fs, "timestamp.json") }},
		{"no snapshot", "PW-TRUST-FILE", func(s *scene) { delete(s.fs, "1.snapshot.json") }},
		{"no targets", "PW-TRUST-FILE", func(s *scene) { delete(s.fs, "1.targets.json") }},
		{"no hosts", "PW-TRUST-FILE", func(s *scene) { delete(s.fs, "1.hosts.json") }},
		{"a directory", "PW-TRUST-FILE", func(s *scene) { s.fs["timestamp.json"] = &fstest.MapFile{Mode: fs.ModeDir} }},
		{"a device", "PW-TRUST-FILE", func(s *scene) { s.fs["timestamp.json"] = &fstest.MapFile{Mode: fs.ModeNamedPipe} }},
		{"empty", "PW-TRUST-METADATA", func(s *scene) { s.put("timestamp.json", nil) }},
		{"oversized timestamp", "PW-TRUST-SIZE", func(s *scene) { s.put("timestamp.json", append(bytes.Clone(s.fs["timestamp.json"].Data), big...)) }},
		{"oversized root", "PW-TRUST-SIZE", func(s *scene) { s.put("2.root.json", big) }},
		{"as many roots as may be", "", func(s *scene) { maps.Copy(s.fs, roots); delete(s.fs, "129.root.json") }},
		{"more roots than may be", "PW-TRUST-SIZE", func(s *scene) { maps.Copy(s.fs, roots) }},
		{"null", "PW-TRUST-METADATA", func(s *scene) { s.put("timestamp.json", []byte("null")) }},
		{"signed null", "PW-TRUST-METADATA", func(s *scene) { s.put("timestamp.json", []byte(`{"signatures":[],"signed":null}`)) }},
		// go-tuf v2.4.2 panics on these, the first one before any signature is checked.
		{"a target null", "PW-TRUST-METADATA", func(s *scene) {
			resign(s, "1.snapshot.json", keepers, func(m *metadata.SnapshotType) { m.Meta["targets.json"] = metadata.MetaFile(1) })
			s.seal(keepers)
			s.edit("1.targets.json", `"roster.json":{`, `"a":null,"roster.json":{`)
		}},
		{"a root's role null", "PW-TRUST-METADATA", func(s *scene) {
			resign(s, "1.root.json", keepers, func(m *metadata.RootType) { m.Roles["timestamp"] = nil })
			s.pin = canon.SumFile(s.fs["1.root.json"].Data)
		}},
		{"a root's key cut short", "PW-TRUST-METADATA", func(s *scene) {
			resign(s, "1.root.json", keepers, func(m *metadata.RootType) {
				for _, k := range m.Keys {
					k.Value.PublicKey = k.Value.PublicKey[:10]
				}
			})
			s.pin = canon.SumFile(s.fs["1.root.json"].Data)
		}},
		{"no word on the snapshot", "PW-TRUST-METADATA", func(s *scene) {
			resign(s, "timestamp.json", keepers, func(m *metadata.TimestampType) { m.Meta = map[string]*metadata.MetaFiles{} })
		}},
		{"the snapshot null", "PW-TRUST-METADATA", func(s *scene) {
			resign(s, "timestamp.json", keepers, func(m *metadata.TimestampType) { m.Meta["snapshot.json"] = nil })
		}},
		{"a delegated key null", "PW-TRUST-METADATA", func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) {
				for id := range m.Delegations.Keys {
					m.Delegations.Keys[id] = nil
				}
			})
		}},
	})
}

// manyRoots is one root of the same keepers after another.
func manyRoots(s *scene, end int64) fstest.MapFS {
	last := "1.root.json"
	for n := int64(2); n <= end; n++ {
		name := fmt.Sprintf("%d.root.json", n)
		s.fs[name] = s.fs[last]
		resign(s, name, keepers, func(m *metadata.RootType) { m.Version = n })
		last = name
	}
	return s.fs
}

func TestTargets(t *testing.T) {
	drop := func(name string) func(*scene) {
		return func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) { delete(m.Targets, name) })
		}
	}
	attacks := []attack{
		{"a target this version does not know", "PW-TRUST-TARGET", func(s *scene) { s.target("calendar.json", []byte("{}")) }},
		{"hosts.json signed for by targets", "PW-TRUST-TARGET", func(s *scene) {
			b := s.body("hosts.json")
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) {
				m.Targets["hosts.json"] = &metadata.TargetFiles{Length: int64(len(b)), Hashes: metadata.Hashes{"sha256": canon.SumFile(b).Bytes()}}
			})
		}},
		{"a keyring no origin uses", "PW-TRUST-TARGET", func(s *scene) { s.target("keyrings/other.gpg", []byte("x")) }},
		{"no SHA-256", "PW-TRUST-TARGET", func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) {
				m.Targets["roster.json"].Hashes = metadata.Hashes{"sha512": bytes.Repeat([]byte{1}, 64)}
			})
		}},
		{"longer than any target", "PW-TRUST-TARGET", func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) { m.Targets["roster.json"].Length = 1 << 40 })
		}},
		{"negative length", "PW-TRUST-TARGET", func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) { m.Targets["roster.json"].Length = -1 })
		}},
		{"signed length too small", "PW-TRUST-TAMPERED", func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) { m.Targets["roster.json"].Length-- })
		}},
		{"signed length too large", "PW-TRUST-TAMPERED", func(s *scene) {
			resign(s, "1.targets.json", keepers, func(m *metadata.TargetsType) { m.Targets["roster.json"].Length++ })
		}},
	}
	for _, name := range []string{"roster.json", "thresholds.json", "origins.json", "critical.json", "policy.json", "witness.policy", "keyrings/vendor.gpg"} {
		attacks = append(attacks, attack{"no " + name, "PW-TRUST-TARGET", drop(name)})
	}
	for _, name := range []string{"roster.json", "thresholds.json", "origins.json", "critical.json", "policy.json", "witness.policy", "keyrings/vendor.gpg", "hosts.json"} {
		attacks = append(attacks,
			attack{name + " is missing", "PW-TRUST-FILE", func(s *scene) { delete(s.fs, s.file(name)) }},
			attack{name + " with one bit changed", "PW-TRUST-TAMPERED", func(s *scene) {
				b := bytes.Clone(s.body(name))
				b[len(b)/2] ^= 1
				s.put(s.file(name), b)
			}},
			attack{name + " cut short", "PW-TRUST-TAMPERED", func(s *scene) { s.put(s.file(name), s.body(name)[:len(s.body(name))-1]) }},
			attack{name + " too long", "PW-TRUST-TAMPERED", func(s *scene) { s.put(s.file(name), append(bytes.Clone(s.body(name)), '\n')) }},
		)
	}
	play(t, attacks)
}

// TestForm holds every JSON target to its one encoding. The keepers sign for
// each of these spellings.
func TestForm(t *testing.T) {
	spell := func(from, to string) func(name string) func(*scene) {
		return func(name string) func(*scene) {
			return func(s *scene) {
				b := s.body(name)
				if !bytes.Contains(b, []byte(from)) {
					s.t.Fatalf("%s does not hold %q", name, from)
				}
				s.target(name, bytes.Replace(b, []byte(from), []byte(to), 1))
			}
		}
	}
	spellings := map[string]func(string) func(*scene){
		"white space":     spell(`{`, `{ `),
		"unknown key":     spell(`{`, `{"aaa":1,`),
		"key in capitals": spell(`"type"`, `"Type"`),
		"of another type": spell(`/v1"`, `/v2"`),
		"type left out":   spell(`"type":"patchwrit/`, `"typ":"patchwrit/`),
		"trailing newline": func(name string) func(*scene) {
			return func(s *scene) { s.target(name, append(bytes.Clone(s.body(name)), '\n')) }
		},
		"escaped": spell(`"patchwrit/`, `"patchwrit\/`),
		"null":    func(name string) func(*scene) { return func(s *scene) { s.target(name, []byte("null")) } },
	}
	for what, how := range spellings {
		for _, name := range []string{"roster.json", "thresholds.json", "origins.json", "critical.json", "policy.json", "hosts.json"} {
			play(t, []attack{{name + " with " + what, "PW-TRUST-FORM", how(name)}})
		}
	}
	play(t, []attack{
		{"duplicate key", "PW-TRUST-FORM", spell(`"solo":false,`, `"solo":false,"solo":true,`)("thresholds.json")},
		{"keys in another order", "PW-TRUST-FORM", spell(`"solo":false,"type":"patchwrit/thresholds/v1"`, `"type":"patchwrit/thresholds/v1","solo":false`)("thresholds.json")},
		{"the same bytes signed again", "", func(s *scene) { s.target("roster.json", s.body("roster.json")) }},
	})
}

// TestOneFlippedBit flips any bit of any file: it is found, or it changes
// nothing that the root says (a third signature, where two are enough).
func TestOneFlippedBit(t *testing.T) {
	names := slices.Sorted(maps.Keys(house.FS))
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t)
		name := rapid.SampledFrom(names).Draw(rt, "file")
		b := bytes.Clone(s.fs[name].Data)
		b[rapid.IntRange(0, len(b)-1).Draw(rt, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		s.put(name, b)
		r, err := s.load()
		if err == nil && !reflect.DeepEqual(r, house.Root) {
			rt.Fatalf("%s: the root now says %+v", name, r)
		}
		if err != nil && refusal.CodeOf(err) == "" {
			rt.Fatalf("%s: %v is no refusal", name, err)
		}
		if err == nil && strings.HasPrefix(name, "targets/") {
			rt.Fatalf("%s: a changed target loads", name)
		}
	})
}

// TestABrokenDisk reads from files that end in an error.
func TestABrokenDisk(t *testing.T) {
	for name := range house.FS {
		_, err := trust.Load(broken{house.FS, name}, house.Pinned, trust.Versions{}, house.Now)
		refused(t, err, "PW-TRUST-FILE")
	}
}

// broken fails while one file is read.
type broken struct {
	fs.FS
	name string
}

func (b broken) Open(name string) (fs.File, error) {
	f, err := b.FS.Open(name)
	if err == nil && name == b.name {
		return brokenFile{f}, nil
	}
	return f, err
}

type brokenFile struct{ fs.File }

// Read gives everything, and then fails.
func (b brokenFile) Read(p []byte) (int, error) {
	n, err := b.File.Read(p)
	if err == io.EOF {
		err = errors.New("input/output error")
	}
	return n, err
}

// TestSigners (room trust/ceremony; the scenes are here): what counts is distinct keepers with a signature that verifies.
func TestSigners(t *testing.T) {
	three := house.Keepers[:3]
	same := func(*metadata.TargetsType) {}
	add := func(s *scene, id, sig string) { // one more signature, and everything above it anew
		var m map[string]any
		if err := json.Unmarshal(s.fs["1.targets.json"].Data, &m); err != nil {
			t.Fatal(err)
		}
		m["signatures"] = append(m["signatures"].([]any), map[string]any{"keyid": id, "sig": sig})
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		s.put("1.targets.json", b)
		s.relink(keepers)
	}
	first := func(s *scene) (id, sig string) {
		m, err := new(metadata.Metadata[metadata.TargetsType]).FromBytes(s.fs["1.targets.json"].Data)
		if err != nil {
			t.Fatal(err)
		}
		return m.Signatures[0].KeyID, m.Signatures[0].Signature.String()
	}
	root, err := new(metadata.Metadata[metadata.RootType]).FromBytes(house.FS["1.root.json"].Data)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		do   func(*scene)
		want int
	}{
		"by all": {func(s *scene) { resign(s, "1.targets.json", three, same) }, 3},
		"by two": {func(s *scene) { resign(s, "1.targets.json", keepers, same) }, 2},
		"by a stranger too": {func(s *scene) {
			resign(s, "1.targets.json", append(slices.Clone(keepers), stranger), same)
		}, 2},
		"with a third keeper's name on another's signature": {func(s *scene) {
			resign(s, "1.targets.json", keepers, same)
			id, sig := first(s)
			for _, other := range root.Signed.Roles[metadata.TARGETS].KeyIDs {
				if k := root.Signed.Keys[other]; other != id && k.Value.PublicKey == fmt.Sprintf("%x", []byte(house.Keepers[2].Public().(ed25519.PublicKey))) {
					add(s, other, sig)
					return
				}
			}
			t.Fatal("the third keeper is not in the root")
		}, 2},
		"by one key under two ids": {func(s *scene) {
			id, _ := first(s)
			alias := strings.Repeat("ab", 32)
			resign(s, "1.root.json", keepers, func(r *metadata.RootType) {
				r.Keys[alias] = r.Keys[id]
				for _, role := range r.Roles {
					role.KeyIDs = append(role.KeyIDs, alias)
				}
			})
			s.pin = canon.SumFile(s.fs["1.root.json"].Data)
			resign(s, "1.targets.json", keepers, same)
			_, sig := first(s)
			add(s, alias, sig)
		}, 2},
	} {
		s := newScene(t)
		c.do(s)
		r, err := s.load()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := ceremony.Signers(s.fs, r); err != nil || n != c.want {
			t.Errorf("%s: %d signers, want %d; %v", name, n, c.want, err)
		}
	}
}
