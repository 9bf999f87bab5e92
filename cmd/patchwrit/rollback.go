package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// rollback is what plan rollback adds to a plan: why, from which plan, to which
// versions.
type rollback struct {
	reason  string
	to      []string
	parent  canon.Digest
	targets []solve.Target
}

func planRollbackCmd() *cobra.Command {
	var p planning
	cmd := &cobra.Command{
		Use:   "rollback [PLANFILE]",
		Short: "make a plan that goes back to named versions on one host",
		Long: "Plan rollback makes a plan whose every change is a downgrade: back to where the host came from in\n" +
			"PLANFILE, or to the versions that --to names. The plan says why (--reason) and which known\n" +
			"vulnerabilities would be open again. The host accepts it only with the quorum named rollback besides\n" +
			"that of the class critical; no grant covers it. What PLANFILE installed anew or removed stays as it is.\n" +
			"The host's own apt must agree, and both versions must still stand in a verified index.\n\n" +
			"Exit codes: 0 a plan was written, 3 something cannot go back, so nothing was planned.",
		Example: "  patchwrit plan rollback plan.json --reason 'openssl 3.0.22 breaks the proxy' --root /srv/host1 --host 3f2a… \\\n" +
			"    --author p-7f3a12bc --pool pool --data data --source debian-security=https://archive.example/debian-security,bookworm-security \\\n" +
			"    --out back.json\n" +
			"  patchwrit plan rollback --to openssl=3.0.20-1~deb12u2 --reason '…' …",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 0 && len(p.back.to) == 0 {
				return usagef("plan rollback takes one plan file, or --to PACKAGE=VERSION")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.back.read(p, args); err != nil {
				return err
			}
			return p.run(cmd)
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&p.back.reason, "reason", "", "why, for those who sign")
	cmd.Flags().StringArrayVar(&p.back.to, "to", nil, "PACKAGE[:ARCH]=VERSION to go back to, the architecture amd64 when not said (repeatable)")
	return cmd
}

// read learns where to go back to.
func (b *rollback) read(p planning, args []string) error {
	if strings.TrimSpace(b.reason) == "" {
		return usagef("say why: --reason TEXT; those who sign read it, and the log keeps it")
	}
	for _, to := range b.to {
		key, version, ok := strings.Cut(to, "=")
		name, arch, named := strings.Cut(key, ":")
		if !named {
			arch = "amd64"
		}
		if !ok || version == "" || !change.Name(name) || !change.Name(arch) {
			return usagef("--to takes PACKAGE=VERSION, not %q", to)
		}
		b.targets = append(b.targets, solve.Target{Package: name, Arch: arch, Version: version})
	}
	if len(args) == 0 {
		return nil
	}
	raw, err := readFile(args[0])
	if err != nil {
		return err
	}
	f, err := proposal.ReadFile(raw)
	if err != nil {
		return exit{exitIntegrity, err}
	}
	b.parent = f.Header.Digest()
	for _, br := range f.Branches {
		if br.Host != trust.HostID(p.host) {
			continue
		}
		for _, c := range br.Rollback {
			if c.Op == change.Downgrade && (len(p.only) == 0 || slices.Contains(p.only, c.Package)) {
				b.targets = append(b.targets, solve.Target{Package: c.Package, Arch: c.Arch, Version: c.To})
			}
		}
	}
	if len(b.targets) == 0 {
		return exit{exitFindings, fmt.Errorf("plan %s upgrades nothing on host %q that could go back", b.parent.Short(), p.host)}
	}
	return nil
}

// whole refuses half a rollback: a person asked for all of it.
func (b *rollback) whole(s solve.Solved) error {
	if len(s.Held) > 0 || len(s.Changes) != len(b.targets) {
		return exit{exitFindings, errors.New("not everything can go back, and half a rollback is no rollback: the reasons are above; --only and --to choose less")}
	}
	return nil
}
