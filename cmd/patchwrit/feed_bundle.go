package main

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/patchwrit/patchwrit/feed/bundle"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/seal"
	"github.com/patchwrit/patchwrit/identity/sshsign"
)

func feedBundleCmd() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "bundle OUT [NAME…]",
		Short: "make one signed file of feeds for a site without a network",
		Long: "Writes what is in use of the named feeds (default: of all) into OUT, signed with your SSH key; a FIDO key's file asks\n" +
			"for a touch. The other site imports it with your public key. Snapshots stay as old as they are. A feed of which\n" +
			"something newer was refused is not carried on until that is settled.",
		Example: "  patchwrit feed bundle feeds.bundle --key ~/.ssh/id_ed25519",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("say to which file: %s OUT", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return usagef("say with which key you sign: --key FILE")
			}
			d, err := openDepot(cmd)
			if err != nil {
				return err
			}
			names := args[1:]
			if len(names) == 0 {
				if names, err = d.Names(); err != nil {
					return err
				}
			}
			t := sshsign.Terminal{Out: cmd.ErrOrStderr()}
			if term.IsTerminal(int(os.Stdin.Fd())) {
				t.In = os.Stdin
			}
			signer, err := sshsign.File(key, askPassphrase, t)
			if err != nil {
				return err
			}
			return writeBundle(cmd, d, args[0], names, signer)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "OpenSSH private key file")
	addDepotFlag(cmd)
	return cmd
}

// writeBundle writes a bundle so that a crash leaves the old file or the new one.
func writeBundle(cmd *cobra.Command, d *depot.Depot, path string, names []string, signer sshsign.Signer) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".patchwrit-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	m, err := bundle.Write(cmd.Context(), f, d, names, signer, time.Now().Unix())
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	sum, size, err := depot.SumOf(f.Name())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	for _, e := range m.Feeds {
		tell(cmd, "%s: %s of %s, confirmed %s ago", e.Name, e.Digest.Short(), when(e.Fetched), ago(m.Made-e.Checked))
	}
	return say(cmd.OutOrStdout(), "%s  %s  %d feeds, %s", sum, path, len(m.Feeds), mib(size))
}

type importFlags struct {
	key, signers string
	rollback     bool
}

func feedImportCmd() *cobra.Command {
	var x importFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "take the feeds of a signed bundle into the depot",
		Long: "Checks the signature before anything is parsed, then every byte, and only then keeps the snapshots. They are judged as if\n" +
			"they came from their sources, and stay as old as they were there. A snapshot older than the one in use is refused,\n" +
			"unless --rollback says that it is meant. Feeds that are known here keep their rules; others take the bundle's.\n\n" +
			"Exit codes: 5 the bundle is not what was signed, 6 a feed is not ok afterwards, 0 neither.",
		Example: "  patchwrit feed import feeds.bundle --key ann.pub\n" +
			"  patchwrit feed import feeds.bundle --allowed-signers signers",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return x.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&x.key, "key", "", "file with the one public key that counts (ssh-keygen's .pub)")
	f.StringVar(&x.signers, "allowed-signers", "", "file with the keys that count, as ssh-keygen -Y verify takes it; namespace "+seal.BundleNamespace)
	f.BoolVar(&x.rollback, "rollback", false, "take snapshots that are older than those in use")
	addDepotFlag(cmd)
	addFormatFlag(cmd)
	return cmd
}

func (x *importFlags) run(cmd *cobra.Command, path string) error {
	if (x.key == "") == (x.signers == "") {
		return usagef("say whose signature counts: --key FILE, or --allowed-signers FILE")
	}
	text, err := readFile(x.key + x.signers)
	if err != nil {
		return err
	}
	signers, err := seal.ReadSigners(text)
	if err != nil {
		return usagef("%s: %v", x.key+x.signers, err)
	}
	d, err := openDepot(cmd)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	now := time.Now()
	m, who, list, err := bundle.Import(cmd.Context(), d, bufio.NewReaderSize(f, 1<<20), bundle.Options{Signers: signers, Now: now.Unix(), Rollback: x.rollback})
	if err != nil {
		return err
	}
	tell(cmd, "bundle of %s, signed by %s", when(m.Made), who)
	names := map[string]bool{}
	for _, one := range list {
		names[one.Feed.Name] = true
		tellImported(cmd, one)
	}
	all, err := listFeeds(d, now.Unix())
	if err != nil {
		return err
	}
	var mine []feedRow
	for _, l := range all {
		if names[l.Name] {
			mine = append(mine, l)
		}
	}
	if err := present(cmd, mine, feedTable(mine)); err != nil {
		return err
	}
	return notAllOK(mine)
}

func tellImported(cmd *cobra.Command, one bundle.Imported) {
	name, k := one.Feed.Name, one.Kept
	switch {
	case k.State == depot.Refused:
		tellRefused(cmd, name, k)
	case one.Same:
		tell(cmd, "%s: %s was in use already", name, k.Digest.Short())
	default:
		tell(cmd, "%s: %d records, newest of %s, are in use now (%s)", name, k.Count, when(k.Newest), k.Digest.Short())
	}
}
