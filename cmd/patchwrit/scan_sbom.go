package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/inventory/sbom"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/match/library"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
)

// addSubjectFlags adds what says which system is looked at.
func addSubjectFlags(cmd *cobra.Command) {
	cmd.Flags().String("root", "/", "top directory of the system to look at")
	cmd.Flags().String("sbom", "", "look at what this bill of materials says, CycloneDX 1.4 to 1.6 or SPDX 2.3 in JSON, instead of a root")
	cmd.Flags().String("pool", "", "directory that keeps what --source fetches (default: in the user's cache)")
}

// bill is a bill of materials as it was read.
type bill struct{ sbom.Document }

// readBill reads --sbom; false means that it was not given.
func readBill(cmd *cobra.Command) (bill, bool, error) {
	name, err := cmd.Flags().GetString("sbom")
	if err != nil || name == "" {
		return bill{}, false, err
	}
	if cmd.Flags().Changed("root") || cmd.Flags().Changed("source") || cmd.Flags().Changed("since") {
		return bill{}, false, usagef("--sbom stands instead of --root; --source and --since need a root")
	}
	f, err := os.Open(name)
	if err != nil {
		return bill{}, false, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, sbom.MaxFile+1))
	if err != nil {
		return bill{}, false, err
	}
	doc, err := sbom.Parse(raw)
	if err != nil {
		return bill{}, false, fmt.Errorf("%s: %w", name, err)
	}
	return bill{doc}, true, nil
}

// look matches the bill with the feeds.
func (b bill) look(o solve.Options) (solve.Seen, error) {
	s := solve.Seen{Inventory: b.Inventory, Index: match.Over(append([]match.Records{match.Memory(o.Feeds...)}, o.Records...)...)}
	s.Findings = append(match.Find(b.Inventory, s.Index), library.Find(b.Libraries, s.Index)...)
	if b.Inventory.OS.ID == "" && len(b.Libraries) > 0 { // a bill of libraries alone needs no system
		s.Findings = slices.DeleteFunc(s.Findings, func(f match.Finding) bool { return f.Reason.Code == match.SystemUnknown })
	}
	s.Doubt(o.Held, func(ix match.Index) []match.Finding { return library.Find(b.Libraries, ix) })
	slices.SortStableFunc(s.Findings, func(x, y match.Finding) int { return aboutAll(y) - aboutAll(x) })
	return s, s.Index.Err()
}

// aboutAll is 1 for a finding about the question as a whole.
func aboutAll(f match.Finding) int {
	if f.Advisory == "" && f.Package == "" {
		return 1
	}
	return 0
}
