package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
)

// addKeeperFlags adds what a change of the trust repository needs: the keepers'
// keys, or a file for keepers who sign apart.
func addKeeperFlags(cmd *cobra.Command) {
	addHouseFlags(cmd)
	cmd.Flags().StringArray("key", nil, "a keeper's private key file (repeat up to the threshold)")
	cmd.Flags().String("stage", "", "sign nothing now: write the next version to this file, for keepers who sign apart (trust sign, trust publish)")
	cmd.Flags().Int64("past", 0, "with --stage: version numbers of at least this, after a stage that was given up")
}

// house is the trust repository's place and pin, once it has loaded.
func house(cmd *cobra.Command) (dir string, pinned canon.Digest, err error) {
	if _, err = openHouse(cmd); err != nil {
		return "", "", err
	}
	dir, _ = cmd.Flags().GetString("trust") // openHouse has read both
	pin, _ := cmd.Flags().GetString("root-sha256")
	return dir, canon.Digest(pin), nil
}

// signingOf reads the keepers' keys and says for which house they sign.
func signingOf(cmd *cobra.Command) (dir string, s ceremony.Signing, err error) {
	dir, pinned, err := house(cmd)
	if err != nil {
		return "", s, err
	}
	files, err := cmd.Flags().GetStringArray("key")
	if err != nil {
		return "", s, err
	}
	s = ceremony.Signing{Pinned: pinned, Now: time.Now()}
	s.Keys, err = ceremony.ReadKeys(files...)
	return dir, s, err
}

// carryOut changes the trust repository: signed now by the keys at hand, or
// staged. A nil edit signs the same contents again; k hands over to keepers.
func carryOut(cmd *cobra.Command, edit func(*ceremony.Contents) error, k *ceremony.Keepers) error {
	dir, s, err := signingOf(cmd)
	if err != nil {
		return err
	}
	return carryOutAs(cmd, dir, s, edit, k)
}

// carryOutAs is carryOut once it is known who signs.
func carryOutAs(cmd *cobra.Command, dir string, s ceremony.Signing, edit func(*ceremony.Contents) error, k *ceremony.Keepers) (err error) {
	stage, _ := cmd.Flags().GetString("stage")
	past, _ := cmd.Flags().GetInt64("past")
	switch {
	case stage != "" && len(s.Keys) > 0:
		return usagef("--stage signs nothing: leave --key away")
	case stage != "":
		st, err := ceremony.NewStage(dir, s, past, edit, k)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "patchwrit: staged %s; each keeper looks at it and signs: patchwrit trust sign %s\n", st.Digest().Short(), stage)
		return writeFile(cmd, stage, st.Bytes())
	case k != nil:
		_, err = ceremony.RotateRoot(dir, s, *k)
	case edit == nil:
		_, err = ceremony.Renew(dir, s)
	default:
		_, err = ceremony.Update(dir, s, edit)
	}
	return err
}

func trustAddPersonCmd() *cobra.Command {
	var names string
	cmd := &cobra.Command{
		Use:   "add-person NAME:ROLE[,ROLE]:FILE",
		Short: "enter a person, or another key or role of one; the keepers sign",
		Long: "FILE is an OpenSSH .pub, or a passkey from 'patchwrit approver register'. The name goes to --names only;\n" +
			"the roster knows a pseudonym. A NAME that stands in --names gets another key.",
		Example: "  patchwrit trust add-person dora:security:dora.pub --names names.json --key ann.keeper.pem --key bob.keeper.pem",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if names == "" {
				return usagef("say where the table of names is: --names FILE")
			}
			f := founding{people: args, names: names}
			known, err := readNames(names)
			if err != nil {
				return err
			}
			var c ceremony.Contents // one person, to be joined
			fresh, err := f.enterPeople(&c)
			if err != nil {
				return err
			}
			p := c.People[0]
			for id, name := range known {
				if name == fresh[p.ID] {
					p.ID = id
				}
			}
			known[p.ID], f.names = fresh[c.People[0].ID], names
			if err := carryOut(cmd, func(c *ceremony.Contents) error { return c.Join(p) }, nil); err != nil {
				return err
			}
			if err := f.writeNames(known); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), p.ID)
			return err
		},
	}
	addKeeperFlags(cmd)
	cmd.Flags().StringVar(&names, "names", "", "file with the table of people's names and pseudonyms")
	return cmd
}

// readNames reads who is behind which pseudonym.
func readNames(path string) (map[trust.PersonID]string, error) {
	names := map[trust.PersonID]string{}
	raw, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return names, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &names)
	}
	return names, err
}

func trustRevokeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke PERSON|CREDENTIAL",
		Short: "end the word of one key, or of all keys of a person; the keepers sign",
		Long: "The key stays in the roster, marked, so that old signatures can still be told apart. Where the people who are\n" +
			"left cannot meet a quorum it is refused: enter another person first (trust add-person).",
		Example: "  patchwrit trust revoke p-7f3a12bc --key ann.keeper.pem --key bob.keeper.pem",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return carryOut(cmd, func(c *ceremony.Contents) error {
				i := slices.IndexFunc(c.People, func(p trust.Person) bool { return p.ID == trust.PersonID(args[0]) })
				if i < 0 {
					return c.Revoke(canon.Digest(args[0]))
				}
				for _, k := range c.People[i].Credentials {
					if err := c.Revoke(k.ID); err != nil {
						return err
					}
				}
				return nil
			}, nil)
		},
	}
	addKeeperFlags(cmd)
	return cmd
}

func trustSetWitnessesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set-witnesses FILE",
		Short: "replace the witness policy, and with it the log that counts; the keepers sign",
		Long: "FILE is C2SP text: the log's line, a line for each witness, and the quorum. Hosts, witnesses and auditors follow\n" +
			"once they have loaded the new version. Another log line than before is a new log: see 'patchwrit ledger continue'.",
		Example: "  patchwrit trust set-witnesses witness.policy --key ann.keeper.pem --key bob.keeper.pem",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return usagef("%v", err)
			}
			return carryOut(cmd, func(c *ceremony.Contents) error {
				c.Witnesses = string(text)
				return nil
			}, nil)
		},
	}
	addKeeperFlags(cmd)
	return cmd
}

func trustEndGrantCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "end-grant GRANT",
		Short: "end a grant on every host, whatever the control plane says; the keepers sign",
		Long: "A revocation by the approvers (patchwrit grant revoke) is kept by the control plane: no host hears of it. A grant that the\n" +
			"trust root lists as ended is refused by every host that has that version, and witnesses give no lease to one that has\n" +
			"not: it is as fast as the repository reaches the witnesses. GRANT is the grant's whole digest.",
		Example: "  patchwrit trust end-grant 91c0ffee… --key ann.keeper.pem --key bob.keeper.pem",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := canon.Digest(args[0])
			if !d.Valid() {
				return usagef("a grant is named by its whole digest, 64 digits, as 'patchwrit grant show' prints it, not %q", args[0])
			}
			return carryOut(cmd, func(c *ceremony.Contents) error {
				if !slices.Contains(c.Critical.Grants, d) {
					c.Critical.Grants = append(slices.Clone(c.Critical.Grants), d)
				}
				return nil
			}, nil)
		},
	}
	addKeeperFlags(cmd)
	return cmd
}

func trustRenewCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "sign the same contents again before they end; the keepers sign",
		Args:  exactly(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return carryOut(cmd, nil, nil) },
	}
	addKeeperFlags(cmd)
	return cmd
}

func trustNewKeeperCmd() *cobra.Command {
	var keys string
	cmd := &cobra.Command{
		Use:     "new-keeper NAME",
		Short:   "make a keeper's key, on that keeper's own machine, and print its public half",
		Example: "  patchwrit trust new-keeper dora --keys /media/usb",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keys == "" {
				return usagef("say where the key goes: --keys DIR")
			}
			key, file, err := ceremony.WriteKey(keys, args[0], rand.Reader)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "patchwrit: the private key is %s; it is yours alone\n", file)
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%x\n", []byte(key.Public().(ed25519.PublicKey)))
			return err
		},
	}
	cmd.Flags().StringVar(&keys, "keys", "", "directory for the key")
	return cmd
}

func trustRotateCmd() *cobra.Command {
	var add, drop []string
	var threshold int
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "hand the house to other keepers; old and new ones sign",
		Long: "The old keepers' threshold and the new keepers' threshold must sign: bring the keys together (--key), or stage it.\n" +
			"Without --add and --drop the same keepers sign a new root, with a new end or another --threshold.",
		Example: "  patchwrit trust rotate --drop 5f31… --add $(cat dora.public) --stage rotate.json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, pinned, err := house(cmd)
			if err != nil {
				return err
			}
			k, err := ceremony.KeepersOf(dir, ceremony.Signing{Pinned: pinned})
			if err != nil {
				return err
			}
			if err := rotated(&k, add, drop); err != nil {
				return err
			}
			if threshold > 0 {
				k.Threshold = threshold
			}
			return carryOut(cmd, nil, &k)
		},
	}
	addKeeperFlags(cmd)
	cmd.Flags().StringArrayVar(&add, "add", nil, "public key of a new keeper, as 'trust new-keeper' prints it (repeat)")
	cmd.Flags().StringArrayVar(&drop, "drop", nil, "keeper who leaves: public key, or key id as 'trust show' lists it, or its beginning (repeat)")
	cmd.Flags().IntVar(&threshold, "threshold", 0, "how many must sign from now on (default: as before)")
	return cmd
}

// rotated lets keepers go and adds others.
func rotated(k *ceremony.Keepers, add, drop []string) error {
	for _, d := range drop {
		at := []int{}
		for i, key := range k.Keys {
			id, err := ceremony.KeeperID(key)
			if err != nil {
				return err
			}
			if len(d) >= 8 && (strings.HasPrefix(id, d) || strings.HasPrefix(hex.EncodeToString(key), d)) {
				at = append(at, i)
			}
		}
		if len(at) != 1 {
			return usagef("--drop %q names %d keepers; 'patchwrit trust show' lists their key ids", d, len(at))
		}
		k.Keys = slices.Delete(k.Keys, at[0], at[0]+1)
	}
	for _, a := range add {
		key, err := hex.DecodeString(a)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return usagef("--add takes a public key in hex, as 'patchwrit trust new-keeper' prints it, not %q", a)
		}
		k.Keys = append(k.Keys, key)
	}
	return nil
}

func trustSignCmd() *cobra.Command {
	var key, out string
	var yes bool
	cmd := &cobra.Command{
		Use:   "sign STAGE",
		Short: "look at a staged version and sign it with your keeper's key",
		Long: "Makes every file of the staged version anew from the repository you hold, shows what changes, and signs those files.\n" +
			"What your key signed last is kept beside it (KEYFILE.signed): no key signs two stages of one number.",
		Example: "  patchwrit trust sign stage.json --key /media/usb/ann.keeper.pem --out stage-ann.json --trust trust --root-sha256 …",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, pinned, err := house(cmd)
			if err != nil {
				return err
			}
			st, err := readStage(args[0])
			if err != nil {
				return err
			}
			keys, err := ceremony.ReadKeys(key)
			if err != nil || len(keys) != 1 {
				return usagef("--key takes one keeper's private key file: %v", err)
			}
			changes, err := st.Changes(dir, pinned)
			if err != nil {
				return err
			}
			showStage(cmd.ErrOrStderr(), st, changes)
			if slices.ContainsFunc(changes, func(c ceremony.Change) bool { return c.Name == "policy.json" }) {
				tell(cmd, "the rules change: ask for both bundles and look at 'patchwrit policy diff OLD NEW' before you sign")
			}
			if err := confirmStage(cmd, st, yes); err != nil {
				return err
			}
			signed, err := signOnce(st, dir, pinned, keys[0], key+".signed")
			if err != nil {
				return err
			}
			return writeFile(cmd, out, canon.MustEncode(signed))
		},
	}
	addHouseFlags(cmd)
	cmd.Flags().StringVar(&key, "key", "", "your private key file")
	cmd.Flags().StringVar(&out, "out", "-", "file for your signature")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask again before signing")
	return cmd
}

func readStage(path string) (ceremony.Stage, error) {
	raw, err := readFile(path)
	if err != nil {
		return ceremony.Stage{}, err
	}
	return ceremony.ReadStage(raw)
}

func confirmStage(cmd *cobra.Command, st ceremony.Stage, yes bool) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return usagef("nobody is there to ask: look at the changes above and add --yes")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "\nType the first 12 digits of the stage's digest (%s) to sign it: ", st.Digest())
	var typed string
	if _, err := fmt.Fscanln(os.Stdin, &typed); err != nil || typed != st.Digest().Short() {
		return errors.New("that is not the stage's digest; nothing was signed")
	}
	return nil
}

// signOnce signs, and remembers it before the signature leaves.
func signOnce(st ceremony.Stage, dir string, pinned canon.Digest, key crypto.Signer, record string) (ceremony.Signature, error) {
	var before ceremony.Signature
	raw, err := os.ReadFile(record)
	if err == nil {
		err = canon.Decode(raw, &before)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return before, fmt.Errorf("what this key signed last: %w", err)
	}
	signed, err := st.Sign(dir, pinned, key, before)
	if err != nil {
		return signed, err
	}
	return signed, os.WriteFile(record, canon.MustEncode(signed), 0o600)
}

// showStage writes for a keeper what they are about to sign. Everything in it is
// quoted: no terminal takes any of it for a command.
func showStage(w io.Writer, st ceremony.Stage, changes []ceremony.Change) {
	fmt.Fprintf(w, "stage      %s\nhouse      %s\nversions   %+v, after %+v\n", st.Digest(), st.House, st.Next, st.From)
	for _, k := range st.Keepers {
		fmt.Fprintf(w, "keeper     %s\n", k)
	}
	if st.Threshold > 0 {
		fmt.Fprintf(w, "threshold  %d of %d keepers from then on\n", st.Threshold, len(st.Keepers))
	}
	if len(changes) == 0 {
		fmt.Fprintln(w, "contents   the same, signed again")
	}
	for _, c := range changes {
		fmt.Fprintf(w, "%q\n", c.Name)
		old, now := linesOf(c.Old), linesOf(c.New)
		for _, l := range without(old, now) {
			fmt.Fprintf(w, "  - %+q\n", l)
		}
		for _, l := range without(now, old) {
			fmt.Fprintf(w, "  + %+q\n", l)
		}
	}
}

// linesOf is a target as lines: JSON laid out, text as it is, a keyring by its
// digest.
func linesOf(b []byte) []string {
	if b == nil {
		return nil
	}
	var laid bytes.Buffer
	if json.Indent(&laid, b, "", "  ") == nil {
		b = laid.Bytes()
	} else if bytes.ContainsFunc(b, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }) {
		return []string{fmt.Sprintf("%d bytes with SHA-256 %s", len(b), canon.SumFile(b))}
	}
	return strings.Split(strings.TrimRight(string(b), "\n"), "\n")
}

// without is the lines of a that b does not have as often.
func without(a, b []string) []string {
	left := map[string]int{}
	for _, l := range b {
		left[strings.TrimRight(l, ",")]++
	}
	out := []string{}
	for _, l := range a {
		if k := strings.TrimRight(l, ","); left[k] > 0 {
			left[k]--
		} else {
			out = append(out, l)
		}
	}
	return out
}

func trustPublishCmd() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:     "publish STAGE",
		Short:   "put the keepers' signatures together and write the staged version",
		Example: "  patchwrit trust publish stage.json --signature stage-ann.json --signature stage-bob.json --trust trust --root-sha256 …",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, pinned, err := house(cmd)
			if err != nil {
				return err
			}
			st, err := readStage(args[0])
			if err != nil {
				return err
			}
			var signatures []ceremony.Signature
			for _, file := range files {
				raw, err := readFile(file)
				if err != nil {
					return err
				}
				var s ceremony.Signature
				if err := canon.Decode(raw, &s); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				signatures = append(signatures, s)
			}
			done, err := st.Publish(dir, pinned, time.Now(), signatures)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "patchwrit: the trust repository is at %+v\n", done.Root.Versions)
			return err
		},
	}
	addHouseFlags(cmd)
	cmd.Flags().StringArrayVar(&files, "signature", nil, "a keeper's signature from 'trust sign' (repeat)")
	return cmd
}
