package ceremony_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func seeded(n byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{n}) }

var house = trusttest.Must(seeded(5), trusttest.Options{})

// settled puts the house's repository on the disk.
func settled(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "trust")
	for name, b := range house.Bundle() {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t testing.TB, dir string, prev trust.Versions) trust.Root {
	t.Helper()
	r, err := trust.Load(os.DirFS(dir), house.Pinned, prev, house.Now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// snapshot is every file of the directory.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func newKey(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func publicOf(keys ...ed25519.PrivateKey) (out []ed25519.PublicKey) {
	for _, k := range keys {
		out = append(out, k.Public().(ed25519.PublicKey))
	}
	return out
}

func TestUpdates(t *testing.T) {
	newHost := ceremony.FromHostKey(newKey(1).Public().(ed25519.PublicKey), "c", trust.Label{Key: "env", Value: "prod"})
	lost := house.People[0].SSHCredential().ID
	key := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("a DER key")})
	fewer := slices.Clone(house.Root.People[:2])
	policy := strings.Replace(house.Root.Witnesses, "group witnesses 2", "group witnesses 3", 1)
	for name, c := range map[string]struct {
		do    func(dir string, s ceremony.Signing) (ceremony.Done, error)
		raise trust.Versions // how much each version goes up
		seen  func(trust.Root) bool
	}{
		"add host": {
			func(dir string, s ceremony.Signing) (ceremony.Done, error) { return ceremony.AddHost(dir, s, newHost) },
			trust.Versions{Timestamp: 1, Snapshot: 1, Hosts: 1},
			func(r trust.Root) bool {
				h, ok := r.Host(newHost.ID)
				return ok && h.Domain == "c" && len(r.Hosts) == 3
			},
		},
		"set roster": {
			func(dir string, s ceremony.Signing) (ceremony.Done, error) { return ceremony.SetRoster(dir, s, fewer) },
			trust.Versions{Timestamp: 1, Snapshot: 1, Targets: 1},
			func(r trust.Root) bool { return reflect.DeepEqual(r.People, fewer) },
		},
		"revoke credential": {
			func(dir string, s ceremony.Signing) (ceremony.Done, error) {
				return ceremony.RevokeCredential(dir, s, lost)
			},
			trust.Versions{Timestamp: 1, Snapshot: 1, Targets: 1},
			func(r trust.Root) bool {
				p, _ := r.Person(house.People[0].ID)
				return slices.ContainsFunc(p.Credentials, func(c trust.Credential) bool { return c.ID == lost && c.Revoked }) &&
					slices.ContainsFunc(p.Credentials, func(c trust.Credential) bool { return c.ID != lost && !c.Revoked })
			},
		},
		"set witnesses": {
			func(dir string, s ceremony.Signing) (ceremony.Done, error) {
				return ceremony.SetWitnesses(dir, s, policy)
			},
			trust.Versions{Timestamp: 1, Snapshot: 1, Targets: 1},
			func(r trust.Root) bool { return r.Witnesses == policy },
		},
		"set policy": {
			func(dir string, s ceremony.Signing) (ceremony.Done, error) {
				return ceremony.SetPolicy(dir, s, canon.SumFile([]byte("bundle")), key)
			},
			trust.Versions{Timestamp: 1, Snapshot: 1, Targets: 1},
			func(r trust.Root) bool {
				return r.Policy.Bundle == canon.SumFile([]byte("bundle")) && canon.Note(r.Policy.Key).Text() == string(key)
			},
		},
		"renew": {
			ceremony.Renew,
			trust.Versions{Timestamp: 1, Snapshot: 1, Targets: 1, Hosts: 1},
			func(r trust.Root) bool { return reflect.DeepEqual(r.People, house.Root.People) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := settled(t)
			done, err := c.do(dir, house.Signing())
			if err != nil {
				t.Fatal(err)
			}
			v := house.Root.Versions
			want := trust.Versions{Root: v.Root, Timestamp: v.Timestamp + c.raise.Timestamp, Snapshot: v.Snapshot + c.raise.Snapshot, Targets: v.Targets + c.raise.Targets, Hosts: v.Hosts + c.raise.Hosts}
			r := load(t, dir, v)
			if r.Versions != want || done.Root.Versions != want || done.Pinned != house.Pinned {
				t.Errorf("versions %+v, wanted %+v", r.Versions, want)
			}
			if !c.seen(r) {
				t.Errorf("the change is not there: %+v", r)
			}
		})
	}
}

// TestNothingIsWritten holds ceremonies that must fail to leaving the disk as
// it was, each with a code or a word that tells why.
func TestNothingIsWritten(t *testing.T) {
	s := house.Signing()
	with := func(keys ...ed25519.PrivateKey) ceremony.Signing {
		s := house.Signing()
		s.Keys = nil
		for _, k := range keys {
			s.Keys = append(s.Keys, k)
		}
		return s
	}
	three := ceremony.Keepers{Threshold: 2, Keys: publicOf(newKey(1), newKey(2), newKey(3))}
	for name, c := range map[string]struct {
		do   func(dir string) (ceremony.Done, error)
		code refusal.Code
		word string
	}{
		"one keeper of two": {func(dir string) (ceremony.Done, error) { return ceremony.Renew(dir, with(house.Keepers[0])) }, "", "2 of the keepers must sign"},
		"one keeper twice": {func(dir string) (ceremony.Done, error) {
			return ceremony.Renew(dir, with(house.Keepers[0], house.Keepers[0]))
		}, "", "only 1 of the keys given"},
		"strangers": {func(dir string) (ceremony.Done, error) { return ceremony.Renew(dir, with(newKey(1), newKey(2))) }, "", "only 0 of the keys given"},
		"another house": {func(dir string) (ceremony.Done, error) {
			s := s
			s.Pinned = canon.SumFile(nil)
			return ceremony.Renew(dir, s)
		}, "PW-TRUST-PIN", ""},
		"nothing to do": {func(dir string) (ceremony.Done, error) { return ceremony.SetRoster(dir, s, house.Root.People) }, "", ceremony.ErrNothing.Error()},
		"a host again":  {func(dir string) (ceremony.Done, error) { return ceremony.AddHost(dir, s, house.Hosts[0].Host) }, "", "there already"},
		"a false host": {func(dir string) (ceremony.Done, error) {
			return ceremony.AddHost(dir, s, trust.Host{ID: canon.SumFile(nil), Domain: "a"})
		}, "PW-TRUST-HOSTS", ""},
		"unknown key": {func(dir string) (ceremony.Done, error) { return ceremony.RevokeCredential(dir, s, canon.SumFile(nil)) }, "", "no credential"},
		"quorum none": {func(dir string) (ceremony.Done, error) {
			return ceremony.SetWitnesses(dir, s, strings.Replace(house.Root.Witnesses, "quorum witnesses", "quorum none", 1))
		}, "PW-TRUST-WITNESSES", ""},
		"half a policy":  {func(dir string) (ceremony.Done, error) { return ceremony.SetPolicy(dir, s, canon.SumFile(nil), nil) }, "PW-TRUST-POLICY", ""},
		"nobody is left": {func(dir string) (ceremony.Done, error) { return ceremony.SetRoster(dir, s, house.Root.People[:1]) }, "PW-TRUST-UNREACHABLE", ""},
		"outside the encoding": {func(dir string) (ceremony.Done, error) {
			return ceremony.Update(dir, s, func(c *ceremony.Contents) error { c.Origins[0].Label = "Däbian"; return nil })
		}, "", "origins.json cannot be written"},
		"rotation without the old keepers": {func(dir string) (ceremony.Done, error) {
			return ceremony.RotateRoot(dir, with(newKey(1), newKey(2)), three)
		}, "", "2 of the old keepers must sign"},
		"rotation without the new keepers": {func(dir string) (ceremony.Done, error) { return ceremony.RotateRoot(dir, s, three) }, "", "2 of the new keepers must sign"},
		"rotation to nobody":               {func(dir string) (ceremony.Done, error) { return ceremony.RotateRoot(dir, s, ceremony.Keepers{}) }, "", "0 of 0 keepers"},
		"rotation to one key twice": {func(dir string) (ceremony.Done, error) {
			return ceremony.RotateRoot(dir, s, ceremony.Keepers{Threshold: 2, Keys: publicOf(newKey(1), newKey(1))})
		}, "", "stands twice"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := settled(t)
			before := snapshot(t, dir)
			_, err := c.do(dir)
			if err == nil || refusal.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.word) {
				t.Errorf("%v; wanted code %q, word %q", err, c.code, c.word)
			}
			if !maps.Equal(before, snapshot(t, dir)) {
				t.Error("the disk has changed")
			}
		})
	}
}

// TestUpdateOfWhatExpired: keepers may sign again what no reader takes any more.
func TestUpdateOfWhatExpired(t *testing.T) {
	dir, s := settled(t), house.Signing()
	s.Now = house.Now.Add(11 * 365 * 24 * time.Hour)
	if _, err := trust.Load(os.DirFS(dir), house.Pinned, trust.Versions{}, s.Now); refusal.CodeOf(err) != "PW-TRUST-EXPIRED" {
		t.Fatalf("the house has not expired: %v", err)
	}
	if _, err := ceremony.Renew(dir, s); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Load(os.DirFS(dir), house.Pinned, trust.Versions{}, s.Now); err != nil {
		t.Error(err)
	}
}

func TestRotation(t *testing.T) {
	heirs := []ed25519.PrivateKey{newKey(1), newKey(2)}
	stay := house.Keepers[0]
	all := house.Signing()
	for _, k := range heirs {
		all.Keys = append(all.Keys, k)
	}
	dir := settled(t)
	done, err := ceremony.RotateRoot(dir, all, ceremony.Keepers{Threshold: 2, Keys: publicOf(stay, heirs[0], heirs[1])})
	if err != nil {
		t.Fatal(err)
	}
	if want := (trust.Versions{Root: 2, Timestamp: 2, Snapshot: 2, Targets: 2, Hosts: 2}); done.Root.Versions != want || load(t, dir, want).Versions != want {
		t.Errorf("%+v", done.Root.Versions)
	}
	s := house.Signing()
	s.Keys = []crypto.Signer{house.Keepers[1], house.Keepers[2]}
	if _, err := ceremony.Renew(dir, s); err == nil {
		t.Error("keepers who left still sign")
	}
	s.Keys = []crypto.Signer{heirs[0], stay}
	if _, err := ceremony.Renew(dir, s); err != nil {
		t.Errorf("the new keepers cannot sign: %v", err)
	}
	sum, err := ceremony.Show(os.DirFS(dir), house.Pinned, house.Now)
	if err != nil || sum.Demo || sum.Threshold != 2 || len(sum.Keepers) != 3 || sum.Versions.Timestamp != 3 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// TestThresholdChange asks more of the same keepers.
func TestThresholdChange(t *testing.T) {
	dir, s := settled(t), house.Signing()
	if _, err := ceremony.RotateRoot(dir, s, ceremony.Keepers{Threshold: 3, Keys: publicOf(house.Keepers...)}); err != nil {
		t.Fatal(err)
	}
	s.Keys = s.Keys[:2]
	if _, err := ceremony.Renew(dir, s); err == nil || !strings.Contains(err.Error(), "3 of the keepers must sign") {
		t.Errorf("two of three keepers signed: %v", err)
	}
}

// TestACrashAnywhereLeavesAHouse writes the files of a ceremony one by one and
// loads the repository after each: it is the old one or the new one.
func TestACrashAnywhereLeavesAHouse(t *testing.T) {
	heirs := []ed25519.PrivateKey{newKey(1), newKey(2)}
	both := house.Signing()
	both.Keys = append(both.Keys, heirs[0], heirs[1])
	for name, do := range map[string]func(dir string) (ceremony.Done, error){
		"update": func(dir string) (ceremony.Done, error) { return ceremony.Renew(dir, house.Signing()) },
		"rotation to strangers": func(dir string) (ceremony.Done, error) {
			return ceremony.RotateRoot(dir, both, ceremony.Keepers{Threshold: 2, Keys: publicOf(heirs...)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := settled(t)
			at := fstest.MapFS{}
			for file, text := range snapshot(t, dir) {
				at[file] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
			}
			done, err := do(dir)
			if err != nil {
				t.Fatal(err)
			}
			last := house.Root.Versions
			for i, file := range done.Files {
				b, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				at[file] = &fstest.MapFile{Data: b, Mode: 0o444}
				r, err := trust.Load(at, house.Pinned, last, house.Now)
				if err != nil {
					t.Fatalf("after %d of %d files (%s): %v", i+1, len(done.Files), file, err)
				}
				last = r.Versions
			}
			if last != done.Root.Versions {
				t.Errorf("ended at %+v", last)
			}
		})
	}
}

// TestACeremonyThatBrokeOffCanBeRepeated leaves everything but timestamp.json.
func TestACeremonyThatBrokeOffCanBeRepeated(t *testing.T) {
	dir := settled(t)
	old, err := os.ReadFile(filepath.Join(dir, "timestamp.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ceremony.RevokeCredential(dir, house.Signing(), house.People[0].SSHCredential().ID); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "timestamp.json"), old, 0o644); err != nil {
		t.Fatal(err)
	}
	other := house.People[1].SSHCredential().ID
	if _, err := ceremony.RevokeCredential(dir, house.Signing(), other); err != nil {
		t.Fatal(err)
	}
	for _, p := range load(t, dir, house.Root.Versions).People {
		for _, c := range p.Credentials {
			if c.Revoked != (c.ID == other) {
				t.Errorf("%s %s: revoked is %t", p.ID, c.ID.Short(), c.Revoked)
			}
		}
	}
}

func TestFilesAreReadableByAllAndNoneIsLeftOver(t *testing.T) {
	dir := settled(t)
	if _, err := ceremony.Renew(dir, house.Signing()); err != nil {
		t.Fatal(err)
	}
	for name := range snapshot(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o644 || strings.Contains(name, ".patchwrit-") {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func options(t testing.TB, keys string) ceremony.Options {
	c := ceremony.ContentsOf(house.Root)
	c.Quorums, c.Critical.Packages, c.Critical.Paths = nil, nil, nil
	c.Origins, c.Keyrings = ceremony.DebianOrigins("bookworm"), map[string][]byte{ceremony.DebianKeyring: []byte("a keyring")}
	return ceremony.Options{Contents: c, Names: []string{"ada", "bob", "eve"}, KeysDir: keys, Now: house.Now, Random: seeded(1)}
}

func TestInit(t *testing.T) {
	base := t.TempDir()
	dir, keys := filepath.Join(base, "trust"), filepath.Join(base, "keys")
	o := options(t, keys)
	o.ControlDir = filepath.Join(base, "control")
	made, err := ceremony.Init(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if pin, err := ceremony.PinOf(dir); err != nil || pin != made.Pinned {
		t.Errorf("pin %s, %v", pin, err)
	}
	r, err := trust.Load(os.DirFS(dir), made.Pinned, trust.Versions{}, house.Now)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Critical.HasPackage("linux-image-6.1.0-37-amd64") || !r.Critical.HasPackage(trust.AgentPackage) || r.Critical.HasPackage("libssl3") || !r.Critical.HasPath("/boot/vmlinuz") {
		t.Errorf("critical list %+v", r.Critical)
	}
	if q, ok := r.Quorum("routine"); !ok || q.People != 2 {
		t.Errorf("routine needs %+v", q)
	}
	if len(made.KeyFiles) != 3 {
		t.Fatalf("key files %q", made.KeyFiles)
	}
	for _, file := range made.KeyFiles {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 || filepath.Dir(file) != keys {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	sum, err := ceremony.Show(os.DirFS(dir), made.Pinned, house.Now)
	if err != nil || sum.Demo || sum.Threshold != 2 || len(sum.Keepers) != 3 {
		t.Errorf("%+v, %v", sum, err)
	}
	text := made.String()
	for _, word := range append(made.KeyFiles, string(made.Pinned)) {
		if !strings.Contains(text, word) {
			t.Errorf("%q does not say %q", text, word)
		}
	}
	if strings.Contains(text, "DEMO") || strings.Contains(text, "SOLO") {
		t.Errorf("warns without reason: %s", text)
	}
	// The keys that were written are the ones that sign.
	signers, err := ceremony.ReadKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ceremony.Renew(dir, ceremony.Signing{Pinned: made.Pinned, Keys: signers[:2], Now: house.Now}); err != nil {
		t.Error(err)
	}
}

// TestInitWithKeysThatKeepersBring makes no key, so it wants no place for one.
func TestInitWithKeysThatKeepersBring(t *testing.T) {
	dir := t.TempDir() // there already, and empty
	o := options(t, "")
	o.Names, o.Keys, o.Contents.Solo = nil, []crypto.Signer{newKey(1), newKey(2), newKey(3)}, true
	made, err := ceremony.Init(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if text := made.String(); !strings.HasPrefix(text, "SOLO: ") || strings.Contains(text, "private keys") {
		t.Error(text)
	}
	if q, ok := made.Root.Quorum("critical"); !ok || q.People != 1 {
		t.Errorf("critical needs %+v in a solo house", q)
	}
	stranger := ceremony.Signing{Pinned: made.Pinned, Keys: []crypto.Signer{newKey(1), newKey(2), newKey(9)}, Now: house.Now}
	if _, err := ceremony.Renew(dir, stranger); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "timestamp.json"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), `"keyid"`); n != 2 {
		t.Errorf("%d signatures by two keepers and a stranger", n)
	}
}

func TestInitRefusesKeepersThatCannotBe(t *testing.T) {
	nist, err := ecdsa.GenerateKey(elliptic.P256(), seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	for word, change := range map[string]func(*ceremony.Options){
		"4 of 3 keepers cannot be":  func(o *ceremony.Options) { o.Threshold = 4 },
		"-1 of 3 keepers cannot be": func(o *ceremony.Options) { o.Threshold = -1 },
		"0 keepers cannot be":       func(o *ceremony.Options) { o.Names = nil },
		"must be Ed25519":           func(o *ceremony.Options) { o.Keys = []crypto.Signer{nist} },
		"say where":                 func(o *ceremony.Options) { o.KeysDir = "" },
	} {
		base := t.TempDir()
		o := options(t, filepath.Join(base, "keys"))
		change(&o)
		if _, err := ceremony.Init(filepath.Join(base, "trust"), o); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v, wanted is %q", err, word)
		}
	}
	s := house.Signing()
	s.Keys = append(s.Keys, nist)
	if _, err := ceremony.Renew(settled(t), s); err == nil || !strings.Contains(err.Error(), "must be Ed25519") {
		t.Errorf("%v", err)
	}
	short := ceremony.Keepers{Threshold: 1, Keys: []ed25519.PublicKey{{1, 2, 3}}}
	if _, _, err := ceremony.Found(ceremony.ContentsOf(house.Root), short, false, house.Signing()); err == nil || !strings.Contains(err.Error(), "no Ed25519 key") {
		t.Errorf("%v", err)
	}
}

// TestInitWhereKeysMayLie: in the directory one works in, and above the control
// plane's.
func TestInitWhereKeysMayLie(t *testing.T) {
	base := t.TempDir()
	t.Chdir(base)
	o := options(t, "keys")
	o.Random = nil
	first, err := ceremony.Init("trust", o)
	if err != nil {
		t.Fatal(err)
	}
	again := options(t, filepath.Join(base, "other"))
	again.Random, again.ControlDir = nil, filepath.Join(base, "other", "control")
	second, err := ceremony.Init(filepath.Join(base, "second"), again)
	if err != nil {
		t.Fatal(err)
	}
	if first.Pinned == second.Pinned {
		t.Error("the system's randomness made the same keys twice")
	}
}

func TestInitRefusesKeysBesideWhatTheySign(t *testing.T) {
	base := t.TempDir()
	dir, control := filepath.Join(base, "trust"), filepath.Join(base, "control")
	if err := errors.Join(os.MkdirAll(filepath.Join(control, "keys"), 0o755), os.Symlink(control, filepath.Join(base, "elsewhere"))); err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string]string{
		"in the repository":                   dir,
		"below the repository":                filepath.Join(dir, "keys"),
		"above the repository":                base,
		"in the control plane's directory":    control,
		"below the control plane's directory": filepath.Join(control, "keys", "deep"),
		"by a symbolic link":                  filepath.Join(base, "elsewhere", "keys"),
		"by dots":                             filepath.Join(base, "x") + "/../control/keys",
		"nowhere":                             "",
	} {
		o := options(t, keys)
		o.ControlDir = control
		before := snapshot(t, base)
		if _, err := ceremony.Init(dir, o); err == nil {
			t.Errorf("%s: keys were left there", name)
		}
		if after := snapshot(t, base); !maps.Equal(before, after) {
			t.Errorf("%s: wrote %q", name, slices.Sorted(maps.Keys(after)))
		}
	}
}

func TestDemoSaysSo(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "control", "trust")
	o := options(t, filepath.Join(base, "control", "keys"))
	o.ControlDir, o.Demo = filepath.Join(base, "control"), true
	made, err := ceremony.Init(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	shows := func() bool {
		sum, err := ceremony.Show(os.DirFS(dir), made.Pinned, house.Now)
		if err != nil {
			t.Fatal(err)
		}
		return sum.Demo && strings.HasPrefix(sum.Text(), "DEMO: ")
	}
	if !shows() || !strings.HasPrefix(made.String(), "DEMO: ") {
		t.Errorf("a demo that does not say so: %s", made)
	}
	keys, err := ceremony.ReadKeys(made.KeyFiles...)
	if err != nil {
		t.Fatal(err)
	}
	s := ceremony.Signing{Pinned: made.Pinned, Keys: append(keys, newKey(1), newKey(2)), Now: house.Now}
	one := keys[0].Public().(ed25519.PublicKey)
	if _, err := ceremony.RotateRoot(dir, s, ceremony.Keepers{Threshold: 2, Keys: append(publicOf(newKey(1)), one)}); err != nil {
		t.Fatal(err)
	}
	if !shows() {
		t.Error("a demo's key stayed, the mark is gone")
	}
	s.Keys = append(s.Keys, newKey(3))
	if _, err := ceremony.RotateRoot(dir, s, ceremony.Keepers{Threshold: 2, Keys: publicOf(newKey(2), newKey(3))}); err != nil {
		t.Fatal(err)
	}
	if shows() {
		t.Error("every keeper has gone at once, the mark stayed")
	}
}

func TestInitTakesBackWhatFails(t *testing.T) {
	base := t.TempDir()
	dir, keys := filepath.Join(base, "trust"), filepath.Join(base, "keys")
	o := options(t, keys)
	o.Contents.Witnesses = "quorum none\n"
	if _, err := ceremony.Init(dir, o); refusal.CodeOf(err) != "PW-TRUST-WITNESSES" {
		t.Errorf("%v", err)
	}
	if left := snapshot(t, base); len(left) != 0 {
		t.Errorf("left behind: %q", slices.Sorted(maps.Keys(left)))
	}
}

func TestInitNeverReplaces(t *testing.T) {
	base := t.TempDir()
	dir, keys := filepath.Join(base, "trust"), filepath.Join(base, "keys")
	if _, err := ceremony.Init(dir, options(t, keys)); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, base)
	if _, err := ceremony.Init(dir, options(t, filepath.Join(base, "more"))); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a second house over the first: %v", err)
	}
	if _, err := ceremony.Init(filepath.Join(base, "second"), options(t, keys)); err == nil || !strings.Contains(err.Error(), "never replaced") {
		t.Errorf("keys replaced: %v", err)
	}
	if !maps.Equal(before, snapshot(t, base)) {
		t.Error("the disk has changed")
	}
}

func TestReadKeys(t *testing.T) {
	dir := t.TempDir()
	want := newKey(4)
	block, err := ssh.MarshalPrivateKey(want, "a comment")
	if err != nil {
		t.Fatal(err)
	}
	openssh := filepath.Join(dir, "id_ed25519")
	if err := os.WriteFile(openssh, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := ceremony.ReadKeys(openssh)
	if err != nil || len(keys) != 1 || !want.Equal(keys[0].(ed25519.PrivateKey)) {
		t.Errorf("OpenSSH key: %v, %v", keys, err)
	}
	made, path, err := ceremony.WriteKey(filepath.Join(dir, "k"), "ada", seeded(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{path, filepath.Dir(path)} {
		if keys, err := ceremony.ReadKeys(from); err != nil || len(keys) != 1 || !made.Equal(keys[0].(ed25519.PrivateKey)) {
			t.Errorf("%s: %v, %v", from, keys, err)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ceremony.ReadKeys(path); err == nil || !strings.Contains(err.Error(), "read by others") {
		t.Errorf("a key that others can read: %v", err)
	}
	if _, err := ceremony.ReadKeys(t.TempDir()); err == nil {
		t.Error("an empty directory gave keys")
	}
	if _, _, err := ceremony.WriteKey(dir, "../ada", seeded(2)); err == nil {
		t.Error("a keeper's name left the directory")
	}
}

func TestCredentials(t *testing.T) {
	p := house.People[0]
	public, err := ssh.NewPublicKey(p.SSH.Public())
	if err != nil {
		t.Fatal(err)
	}
	line := ssh.MarshalAuthorizedKey(public)
	if c, err := ceremony.FromSSH(line); err != nil || !reflect.DeepEqual(c, p.SSHCredential()) {
		t.Errorf("%+v, %v", c, err)
	}
	// A security key's public key, as ssh-keygen -t ed25519-sk writes it: type, key, application.
	blob := ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, p.SSH.Public().(ed25519.PublicKey), "ssh:patchwrit"})
	sk, err := ssh.ParsePublicKey(blob)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := ceremony.FromSSH(ssh.MarshalAuthorizedKey(sk)); err != nil || c.Application != "ssh:patchwrit" || c.Algorithm != ssh.KeyAlgoSKED25519 {
		t.Errorf("%+v, %v", c, err)
	}
	for name, bad := range map[string][]byte{
		"options":  append([]byte(`command="x" `), line...),
		"two keys": append(bytes.Clone(line), line...),
		"no key":   []byte("ssh-ed25519 AAAA"),
		"rsa":      []byte("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC7vbqajDw4o6gJy8UtmIbkcpnkO3Kwc4qsEnSZp/TR+fQi62F79RHWmwKOtFmwteURgLbj7D/WGuNLGOfa/2vn"),
		"nothing":  nil,
	} {
		if c, err := ceremony.FromSSH(bad); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	c, err := ceremony.FromWebAuthn(&p.Passkey.PublicKey, trusttest.RelyingParty, trusttest.PasskeyPage)
	if err != nil || !reflect.DeepEqual(c, p.PasskeyCredential()) {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestPasskeysAreOnP256: the only curve that ES256 means.
func TestPasskeysAreOnP256(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P384()} {
		key, err := ecdsa.GenerateKey(curve, seeded(1))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := ceremony.FromWebAuthn(&key.PublicKey, "localhost", trusttest.PasskeyPage); err == nil {
			t.Errorf("%s: %+v", curve.Params().Name, c)
		}
	}
	//lint:ignore SA1019 the raw coordinates are the only way to a point off the curve
	if c, err := ceremony.FromWebAuthn(&ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, "localhost", trusttest.PasskeyPage); err == nil {
		t.Errorf("a point off the curve: %+v", c)
	}
}

func TestPseudonym(t *testing.T) {
	a, err := ceremony.Pseudonym(seeded(1))
	b, _ := ceremony.Pseudonym(seeded(2))
	if err != nil || a == b || !strings.HasPrefix(string(a), "p-") || len(a) != 10 {
		t.Errorf("%q, %q, %v", a, b, err)
	}
}

// TestShow compares the summary with golden files: what a person reads, and
// what a program reads. Rewrite them with go test -rewrite.
func TestShow(t *testing.T) {
	edit := func(c *ceremony.Contents) {
		c.Solo = true
		c.Quorums = ceremony.Quorums(true, "owner")
		if err := c.Revoke(c.People[1].Credentials[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	for name, h := range map[string]trusttest.House{"house": house, "solo": trusttest.Must(seeded(5), trusttest.Options{Edit: edit})} {
		sum, err := ceremony.Show(h.FS, h.Pinned, h.Now)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := json.MarshalIndent(sum, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", sum.Text())
		golden(t, name+".json", string(doc)+"\n")
	}
	console := trusttest.Must(seeded(5), trusttest.Options{Edit: func(c *ceremony.Contents) {
		for i := range c.People[0].Credentials {
			if k := &c.People[0].Credentials[i]; k.Method == trust.WebAuthn {
				k.RelyingParty, k.Origins = "console.example", []string{"https://console.example"}
			}
		}
	}})
	sum, err := ceremony.Show(console.FS, console.Pinned, console.Now)
	if err != nil || strings.Count(sum.Text(), "no independent view") != 1 {
		t.Errorf("one passkey of the console's: %v\n%s", err, sum.Text())
	}
	if _, err := ceremony.Show(house.FS, canon.SumFile(nil), house.Now); refusal.CodeOf(err) != "PW-TRUST-PIN" {
		t.Errorf("shows another house: %v", err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s (%v): got\n%s", name, err, got)
	}
}

// TestWeakerRulesNeedTwoKeepers: in a house whose threshold is one, and only
// there, somebody could change the rules alone.
func TestWeakerRulesNeedTwoKeepers(t *testing.T) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("a DER key")})
	first, second := canon.SumFile([]byte("first")), canon.SumFile([]byte("second"))
	one, both := house.Signing(), house.Signing()
	one.Keys, both.Keys = one.Keys[:1], both.Keys[:2]
	twice := one
	twice.Keys = append(slices.Clone(one.Keys), one.Keys[0])
	because := func(why error) func(ceremony.Signing) ceremony.Signing {
		return func(s ceremony.Signing) ceremony.Signing {
			s.Harmless = func(old, now trust.Policy) error {
				if old.Bundle != first {
					t.Errorf("it is asked about %+v", old)
				}
				return why
			}
			return s
		}
	}
	for name, c := range map[string]struct {
		pinned canon.Digest // before
		next   canon.Digest
		s      ceremony.Signing
		code   refusal.Code
		word   string
	}{
		"by one":                         {first, second, one, "PW-POLICY-WEAKER", "nothing shows"},
		"by one, twice":                  {first, second, twice, "PW-TRUST-METADATA", "multiple signatures"},
		"by two":                         {first, second, both, "", ""},
		"by one, shown to be weaker":     {first, second, because(errors.New("a counterexample"))(one), "PW-POLICY-WEAKER", "a counterexample"},
		"by two, shown to be weaker":     {first, second, because(errors.New("a counterexample"))(both), "", ""},
		"by one, shown to be harmless":   {first, second, because(nil)(one), "", ""},
		"the first rules, by one":        {"", second, one, "", ""},
		"taking the rules away, by one":  {first, "", one, "PW-POLICY-WEAKER", "nothing shows"},
		"taking the rules away, by both": {first, "", both, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := settled(t)
			if c.pinned != "" {
				if _, err := ceremony.SetPolicy(dir, house.Signing(), c.pinned, key); err != nil {
					t.Fatal(err)
				}
			}
			all := publicOf(house.Keepers...)
			if _, err := ceremony.RotateRoot(dir, house.Signing(), ceremony.Keepers{Threshold: 1, Keys: all}); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, dir)
			p := trust.Policy{Bundle: c.next}
			if c.next != "" {
				p.Key = string(canon.NoteOf(string(key)))
			}
			done, err := ceremony.Update(dir, c.s, func(c *ceremony.Contents) error { c.Policy = p; return nil })
			if refusal.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.word) || err == nil && done.Root.Policy.Bundle != c.next {
				t.Errorf("%v, wanted %q …%s…", err, c.code, c.word)
			}
			if (err != nil) != maps.Equal(before, snapshot(t, dir)) {
				t.Errorf("the disk: %v", err)
			}
			if err != nil {
				return
			}
			if n, err := ceremony.Signers(os.DirFS(dir), done.Root); err != nil || n != len(c.s.Keys) {
				t.Errorf("%d signers, %v", n, err)
			}
		})
	}
}

// TestAStageWithOtherRulesNeedsTwoKeepers is the same by keepers who sign apart.
func TestAStageWithOtherRulesNeedsTwoKeepers(t *testing.T) {
	dir, key := settled(t), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("a DER key")})
	pin := func(text string) func(*ceremony.Contents) error {
		return func(c *ceremony.Contents) error {
			c.Policy = trust.Policy{Bundle: canon.SumFile([]byte(text)), Key: string(canon.NoteOf(string(key)))}
			return nil
		}
	}
	if _, err := ceremony.Update(dir, house.Signing(), pin("first")); err != nil {
		t.Fatal(err)
	}
	if _, err := ceremony.RotateRoot(dir, house.Signing(), ceremony.Keepers{Threshold: 1, Keys: publicOf(house.Keepers...)}); err != nil {
		t.Fatal(err)
	}
	s := house.Signing()
	s.Keys = nil
	st, err := ceremony.NewStage(dir, s, 0, pin("second"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var words []ceremony.Signature
	for _, k := range house.Keepers[:2] {
		w, err := st.Sign(dir, house.Pinned, k, ceremony.Signature{})
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, w)
	}
	if _, err := st.Publish(dir, house.Pinned, house.Now, words[:1]); refusal.CodeOf(err) != "PW-POLICY-WEAKER" {
		t.Errorf("one signature: %v", err)
	}
	if done, err := st.Publish(dir, house.Pinned, house.Now, words); err != nil || done.Root.Policy.Bundle != canon.SumFile([]byte("second")) {
		t.Errorf("two signatures: %v", err)
	}
}
