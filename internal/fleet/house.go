package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Roles are the roles that must all be among those who approve.
const roles = "owner,security"

// People are the approvers, with their roles. Their keys are files made here:
// they stand in for people and protect nothing.
var People = []struct{ Name, Role string }{{"ann", "owner"}, {"bob", "security"}, {"cleo", "owner"}, {"eve-the-author", roles}}

// Keepers sign the trust root, two together.
var Keepers = []string{"keeper-1", "keeper-2", "keeper-3"}

// Witnesses is how many there are; two make a quorum.
const Witnesses = 3

// Origin is one archive that the house trusts.
type Origin struct {
	File, Keyring string // as `patchwrit trust init --origin` takes them; empty for Debian's own, which Options.Debian brings
	Source        string // as `patchwrit up --source` takes it; empty: nothing is planned from it
}

// house is who counts in a fleet, as files in its directory.
type house struct {
	Root    string            // digest that hosts are enrolled to
	People  map[string]string // pseudonyms by name
	witness []string          // addresses
}

// found makes every key and party, and the trust repository that names them.
func (f *Fleet) found(ctx context.Context) error {
	if err := os.MkdirAll(f.In("keys"), 0o700); err != nil {
		return err
	}
	for _, p := range People {
		if _, err := f.Do(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "software key "+p.Name, "-f", f.Key(p.Name)); err != nil {
			return err
		}
	}
	policy, err := f.witnessPolicy(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.In("witness.policy"), []byte(policy), 0o644); err != nil {
		return err
	}
	if _, err := f.Do(ctx, "patchwrit", "policy", "sign", "--key", f.In("keys", "policy"), "--out", f.In("policy.tar.gz")); err != nil {
		return err
	}
	if _, err := f.Do(ctx, f.trustInit()...); err != nil {
		return err
	}
	return f.readHouse()
}

// witnessPolicy makes the log's and the witnesses' keys. Witnesses have loopback
// addresses of this run's own: they are of no concern to hosts.
func (f *Fleet) witnessPolicy(ctx context.Context) (string, error) {
	line, err := f.Do(ctx, "patchwrit", "ledger", "init", "--data", f.Data(), "--origin", "fleet.patchwrit.example/log")
	if err != nil {
		return "", err
	}
	lines := []string{line}
	names := []string{}
	for i := range Witnesses {
		b := f.Street.Addr.As4()
		addr := netip.AddrFrom4([4]byte{127, b[1], b[2], byte(i + 1)})
		name := WitnessName(i)
		line, err := f.Do(ctx, "patchwrit-witness", "keygen", "--dir", f.In(name), "--name", name, "--url", fmt.Sprintf("http://%s:7400", addr))
		if err != nil {
			return "", err
		}
		lines, names = append(lines, line), append(names, name)
		f.witness = append(f.witness, fmt.Sprintf("%s:7400", addr))
	}
	return strings.Join(append(lines, "group two-of-three 2 "+strings.Join(names, " "), "quorum two-of-three", ""), "\n"), nil
}

// WitnessName is the name of a witness, its process and its directory.
func WitnessName(i int) string { return fmt.Sprintf("witness-%d", i+1) }

func (f *Fleet) trustInit() []string {
	argv := []string{"patchwrit", "trust", "init", f.In("trust"), "--demo", "--threshold", "2", "--keys", f.In("keys"), "--names", f.In("names.json"),
		"--roles", roles, "--witness-policy", f.In("witness.policy"), "--policy", f.In("policy.tar.gz"), "--policy-key", f.In("keys", "policy.pem")}
	for _, k := range Keepers {
		argv = append(argv, "--keeper", k)
	}
	for _, p := range People {
		argv = append(argv, "--person", p.Name+":"+p.Role+":"+f.Key(p.Name)+".pub")
	}
	for _, name := range f.Critical {
		argv = append(argv, "--critical", name)
	}
	if f.Debian != "" {
		argv = append(argv, "--keyring", f.Debian)
	}
	for _, o := range f.Origins {
		if o.File != "" {
			argv = append(argv, "--origin", o.File+":"+o.Keyring)
		}
	}
	return argv
}

// readHouse learns the pinned digest and the pseudonyms.
func (f *Fleet) readHouse() error {
	first, err := os.ReadFile(f.In("trust", "1.root.json"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(first)
	f.house.Root = hex.EncodeToString(sum[:])
	raw, err := os.ReadFile(f.In("names.json"))
	if err != nil {
		return err
	}
	names := map[string]string{}
	if err := json.Unmarshal(raw, &names); err != nil {
		return err
	}
	f.house.People = map[string]string{}
	for id, name := range names {
		f.house.People[name] = id
	}
	return nil
}

// Key is the file with a person's or keeper's private key.
func (f *Fleet) Key(name string) string { return f.In("keys", name) }

// keepers are the flags with which the keepers sign.
func (f *Fleet) keepers() []string {
	var argv []string
	for _, k := range Keepers[:2] {
		argv = append(argv, "--key", f.Key(k+".keeper.pem"))
	}
	return append(argv, f.House()...)
}

// House are the flags that say whose word counts.
func (f *Fleet) House() []string {
	return []string{"--trust", f.In("trust"), "--root-sha256", f.house.Root}
}

// Server are the flags that say where the control plane is.
func (f *Fleet) Server() []string { return []string{"--server", "unix:" + f.Data() + "/api.sock"} }
