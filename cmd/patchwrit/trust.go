package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
)

func init() { verbs = append(verbs, trustCmd) }

// trustCmd makes and shows trust repositories.
func trustCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "trust", Short: "make and show the trust repository: who may permit what"}
	cmd.AddCommand(trustInitCmd(), trustShowCmd(), trustAddHostCmd(), trustAddPersonCmd(), trustRevokeCmd(), trustSetWitnessesCmd(), trustEndGrantCmd(),
		trustRenewCmd(), trustNewKeeperCmd(), trustRotateCmd(), trustSignCmd(), trustPublishCmd())
	return cmd
}

// founding are the flags of trust init.
type founding struct {
	keepers, people, hosts, origins, roles   []string
	critical                                 []string
	threshold                                int
	keys, names, witnesses, keyring, release string
	policy, policyKey, data                  string
	solo, demo                               bool
}

func trustInitCmd() *cobra.Command {
	var f founding
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "found a house: make its trust repository and the keepers' keys",
		Long: "Founds a house in DIR: a TUF repository that names people, thresholds, hosts, witnesses and vendor keyrings.\n" +
			"The keepers' keys are written to --keys; each keeper takes theirs away. Give the digest it prints to every\n" +
			"host by its image or the configuration management, never by the control plane.\n\n" +
			"Rules (--policy) that --policy-key does not verify, or whose advice_limits could not be read, are refused; nothing is written.",
		Example: "  patchwrit trust init trust --keeper ann --keeper bob --keys /media/usb/keys \\\n" +
			"    --person 'ann:owner:ann.pub' --person 'bob:security:bob.pub' --roles owner,security \\\n" +
			"    --witness-policy witness.policy --keyring /usr/share/keyrings/debian-archive-keyring.gpg \\\n" +
			"    --policy policy.tar.gz --policy-key policy.pem",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			made, err := f.found(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), made.String())
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.keepers, "keeper", nil, "name of a root keeper whose key is made now (repeat)")
	fl.IntVar(&f.threshold, "threshold", 0, "keepers who must sign together (default: more than half)")
	fl.StringVar(&f.keys, "keys", "", "directory for the keepers' keys, not on the control plane")
	fl.StringArrayVar(&f.people, "person", nil, "NAME:ROLE[,ROLE]:FILE, where FILE is an OpenSSH .pub or a passkey from 'patchwrit approver register' (repeat; the same NAME adds a key)")
	fl.StringArrayVar(&f.hosts, "host", nil, "PUBLICKEYHEX:DOMAIN[:KEY=VALUE,…] as 'patchwrit-agent keygen' prints it (repeat)")
	fl.StringVar(&f.names, "names", "", "file for the table of people's names and pseudonyms (default: names.json beside the keys); keep it out of the log")
	fl.StringSliceVar(&f.roles, "roles", nil, "roles that must all be among those who approve, from class sensitive up")
	fl.StringVar(&f.witnesses, "witness-policy", "", "file with the witness policy (C2SP text)")
	fl.StringVar(&f.keyring, "keyring", "", "Debian's archive keyring, binary OpenPGP")
	fl.StringVar(&f.release, "release", "bookworm", "Debian release whose sources are trusted")
	fl.StringArrayVar(&f.origins, "origin", nil, "FILE:KEYRING of one more source: JSON as in origins.json, with its keyring (repeat)")
	fl.StringArrayVar(&f.critical, "critical", nil, "package (or NAME*) that this house adds to the highest class (repeat)")
	fl.StringVar(&f.policy, "policy", "", "signed policy bundle to pin ('patchwrit policy sign')")
	fl.StringVar(&f.policyKey, "policy-key", "", "PEM of the key that signed it")
	fl.StringVar(&f.data, "data", "", "the control plane's data directory, if on this machine: no key is written into it")
	fl.BoolVar(&f.solo, "solo", false, "let one person decide alone; shown everywhere")
	fl.BoolVar(&f.demo, "demo", false, "allow the keepers' keys anywhere; marks the house as worth nothing")
	return cmd
}

func (f *founding) found(ctx context.Context, dir string) (ceremony.Made, error) {
	o := ceremony.Options{Names: f.keepers, Threshold: f.threshold, KeysDir: f.keys, ControlDir: f.data, Demo: f.demo, Now: time.Now()}
	c := &o.Contents
	c.Solo, c.Quorums = f.solo, ceremony.Quorums(f.solo, f.roles...)
	names, err := f.enterPeople(c)
	if err != nil {
		return ceremony.Made{}, err
	}
	for _, spec := range f.hosts {
		h, err := parseHost(spec)
		if err != nil {
			return ceremony.Made{}, err
		}
		c.Hosts = append(c.Hosts, h)
	}
	if err := f.enterSources(c); err != nil {
		return ceremony.Made{}, err
	}
	if len(f.critical) > 0 {
		c.Critical = ceremony.DebianCritical()
		c.Critical.Packages = append(c.Critical.Packages, f.critical...)
	}
	text, err := os.ReadFile(f.witnesses)
	if err != nil {
		return ceremony.Made{}, usagef("--witness-policy: %v", err)
	}
	c.Witnesses = string(text)
	if f.policy != "" {
		if c.Policy, _, err = pinPolicy(ctx, f.policy, f.policyKey); err != nil {
			return ceremony.Made{}, err
		}
	}
	made, err := ceremony.Init(dir, o)
	if err != nil {
		return made, err
	}
	return made, f.writeNames(names)
}

// enterPeople fills the roster. Names stay out of it: they go to a table of
// their own.
func (f *founding) enterPeople(c *ceremony.Contents) (map[trust.PersonID]string, error) {
	at, names := map[string]int{}, map[trust.PersonID]string{}
	for _, spec := range f.people {
		name, rest, _ := strings.Cut(spec, ":")
		roles, file, ok := strings.Cut(rest, ":")
		if !ok || name == "" || roles == "" {
			return nil, usagef("--person takes NAME:ROLE[,ROLE]:FILE, not %q", spec)
		}
		credential, err := readCredential(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		i, known := at[name]
		if !known {
			id, err := ceremony.Pseudonym(rand.Reader)
			if err != nil {
				return nil, err
			}
			i, names[id] = len(c.People), name
			at[name] = i
			c.People = append(c.People, trust.Person{ID: id, Roles: strings.Split(roles, ",")})
		}
		c.People[i].Credentials = append(c.People[i].Credentials, credential)
	}
	return names, nil
}

// readCredential reads an OpenSSH public key, or a passkey's roster entry.
func readCredential(path string) (trust.Credential, error) {
	b, err := readFile(path)
	if err != nil {
		return trust.Credential{}, err
	}
	if len(b) > 0 && b[0] == '{' {
		var c trust.Credential
		return c, canon.Decode(b, &c)
	}
	return ceremony.FromSSH(b)
}

// parseHost reads PUBLICKEYHEX:DOMAIN[:KEY=VALUE,…].
func parseHost(spec string) (trust.Host, error) {
	parts := strings.SplitN(spec, ":", 3)
	if len(parts) < 2 || !canon.Hex(parts[0], ed25519.PublicKeySize) {
		return trust.Host{}, usagef("a host is PUBLICKEYHEX:DOMAIN[:KEY=VALUE,…], not %q", spec)
	}
	key, err := hex.DecodeString(parts[0])
	if err != nil {
		return trust.Host{}, err
	}
	labels := []trust.Label{}
	if len(parts) == 3 {
		for _, l := range strings.Split(parts[2], ",") {
			k, v, ok := strings.Cut(l, "=")
			if !ok {
				return trust.Host{}, usagef("a label is KEY=VALUE, not %q", l)
			}
			labels = append(labels, trust.Label{Key: k, Value: v})
		}
	}
	return ceremony.FromHostKey(key, parts[1], labels...), nil
}

// enterSources fills origins and keyrings.
func (f *founding) enterSources(c *ceremony.Contents) error {
	c.Keyrings = map[string][]byte{}
	if f.keyring != "" {
		b, err := os.ReadFile(f.keyring)
		if err != nil {
			return err
		}
		c.Origins, c.Keyrings[ceremony.DebianKeyring] = ceremony.DebianOrigins(f.release), b
	}
	for _, spec := range f.origins {
		file, keyring, ok := strings.Cut(spec, ":")
		if !ok {
			return usagef("--origin takes FILE:KEYRING, not %q", spec)
		}
		b, err := readFile(file)
		if err != nil {
			return err
		}
		var o trust.Origin
		if err := json.Unmarshal(b, &o); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if c.Keyrings[o.Keyring], err = os.ReadFile(keyring); err != nil {
			return err
		}
		c.Origins = append(c.Origins, o)
	}
	if len(c.Origins) == 0 {
		return usagef("say whose packages are trusted: --keyring (Debian) or --origin")
	}
	return nil
}

// writeNames stores who is behind which pseudonym.
func (f *founding) writeNames(names map[trust.PersonID]string) error {
	path := f.names
	if path == "" {
		path = f.keys + "/names.json"
	}
	b, err := json.MarshalIndent(names, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}

// pinPolicy is the trust root's line for a bundle file and its key, and the rules. What
// the key does not verify, and rules that would not hold, are refused before keepers sign.
func pinPolicy(ctx context.Context, bundle, keyPEM string) (trust.Policy, *rego.Engine, error) {
	raw, err := readBundle(bundle)
	if err != nil {
		return trust.Policy{}, nil, err
	}
	key, err := os.ReadFile(keyPEM)
	if err != nil {
		return trust.Policy{}, nil, usagef("--policy-key: %v", err)
	}
	p := trust.Policy{Type: "patchwrit/policy/v1", Bundle: canon.SumFile(raw), Key: string(canon.NoteOf(string(key)))}
	e, err := rego.Load(ctx, raw, p.Bundle, canon.Note(p.Key).Text())
	return p, e, limitsHold(e, err)
}

func trustShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "load the trust repository as a host does, and show what it says",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := output(cmd, "table", "json")
			if err != nil {
				return err
			}
			if _, err := openHouse(cmd); err != nil {
				return err
			}
			dir, _ := cmd.Flags().GetString("trust") // openHouse has read both
			pin, _ := cmd.Flags().GetString("root-sha256")
			s, err := ceremony.Show(os.DirFS(dir), canon.Digest(pin), time.Now())
			if err != nil {
				return err
			}
			if format == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(s)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), s.Text())
			return err
		},
	}
	addHouseFlags(cmd)
	cmd.Flags().StringP("output", "o", "table", "table or json")
	return cmd
}

func trustAddHostCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add-host PUBLICKEYHEX:DOMAIN[:KEY=VALUE,…]",
		Short: "enter a machine; the keepers sign",
		Long: "Enters a machine by its host key, with its fault domain and labels. Labels are what grants and rules go by; nobody but the\n" +
			"keepers sets them. The standard rules know (docs/POLICY.md):\n\n" +
			"  autonomy=L0…L4             L0 is only observed; a grant counts at L4, and at L3 when a deadline is near; without: people decide\n" +
			"  exposure=internet|internal whether the public reaches it; without: as if it did\n" +
			"  data=gdpr+hipaa+pci        no automatic lane, one reviewer more\n" +
			"  window=sat-0100-0500       when it may change, UTC; freeze_until=UNIXTIME: not before\n" +
			"  group=NAME, role=NAME      for reports, and for canaries: the first host of each role goes first",
		Example: "  patchwrit trust add-host $(patchwrit-agent keygen --state DIR):rack-1:role=web,autonomy=L4,exposure=internal --key ann.key --key bob.key",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := parseHost(args[0])
			if err != nil {
				return err
			}
			if err := carryOut(cmd, func(c *ceremony.Contents) error { return c.Enter(h) }, nil); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), h.ID)
			return err
		},
	}
	addKeeperFlags(cmd)
	return cmd
}
