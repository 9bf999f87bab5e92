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
	cmd.Flags().String("kernel", "", "the kernel that runs there, as uname -r prints it (default: this machine's with --root /, else not known)")
	cmd.Flags().String("pool", "", "directory that keeps what --source fetches (default: in the user's cache)")
}

// looked is what was seen, and the bill where it was one that was looked at.
type looked struct {
	solve.Seen
	bill  *sbom.Document
	build string // of the kernel that runs; "" when it is not known
	own   bool   // it belongs to what is looked at
}

// readBill reads --sbom; nil means that it was not given.
func readBill(cmd *cobra.Command) (*sbom.Document, error) {
	name, err := cmd.Flags().GetString("sbom")
	if err != nil || name == "" {
		return nil, err
	}
	if cmd.Flags().Changed("root") || cmd.Flags().Changed("source") || cmd.Flags().Changed("since") {
		return nil, usagef("--sbom stands instead of --root; --source and --since need a root")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, sbom.MaxFile+1))
	if err != nil {
		return nil, err
	}
	doc, err := sbom.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &doc, nil
}

// lookAtBill matches a bill with the feeds.
func lookAtBill(b *sbom.Document, o solve.Options) (looked, error) {
	s := solve.Seen{Inventory: b.Inventory, Index: match.Over(append([]match.Records{match.Memory(o.Feeds...)}, o.Records...)...)}
	s.Findings = append(match.Find(b.Inventory, s.Index), library.Find(b.Libraries, s.Index)...)
	if b.Inventory.OS.ID == "" { // no package needs a system
		s.Findings = slices.DeleteFunc(s.Findings, func(f match.Finding) bool { return f.Reason.Code == match.SystemUnknown })
	}
	s.Doubt(o.Held, func(ix match.Index) []match.Finding { return library.Find(b.Libraries, ix) })
	slices.SortStableFunc(s.Findings, func(x, y match.Finding) int { return aboutAll(y) - aboutAll(x) })
	return looked{Seen: s, bill: b}, s.Index.Err()
}

// billReport is what became of the bill's components. Their number is that of the
// matched ones and of what is left together.
type billReport struct {
	Format     string      `json:"format"`
	Components int         `json:"components"`
	Matched    int         `json:"matched"`
	Left       []sbom.Left `json:"left"`
}

func newBillReport(d *sbom.Document) *billReport {
	if d == nil {
		return nil
	}
	b := billReport{Format: d.Format, Components: d.Components, Matched: d.Components, Left: d.Left}
	for _, l := range d.Left {
		b.Matched -= l.Count
	}
	return &b
}

// closed are the reasons that leave no question open; the others are gaps.
func (b *billReport) closed() []string {
	var out []string
	for _, l := range b.Left {
		if !l.Open {
			out = append(out, fmt.Sprintf("%s (%s)", l.Sentence(), l.Why))
		}
	}
	return out
}

// table writes what was left out, and the sum.
func (b *billReport) table(w io.Writer) {
	for _, text := range b.closed() {
		fmt.Fprintln(w, "left out:", text)
	}
	fmt.Fprintf(w, "bill %s: %d components, %d matched, %d not\n", b.Format, b.Components, b.Matched, b.Components-b.Matched)
}

// purls are those of the bill's libraries, by name and version as findings have them.
func purls(d *sbom.Document) map[[2]string]string {
	out := map[[2]string]string{}
	if d == nil {
		return out
	}
	for _, l := range d.Libraries {
		if p, err := sbom.ParsePurl(l.Purl); err == nil {
			out[[2]string{l.Name, l.Version}] = p.String()
		}
	}
	return out
}

// aboutAll is 1 for a finding about the question as a whole.
func aboutAll(f match.Finding) int {
	if f.Advisory == "" && f.Package == "" {
		return 1
	}
	return 0
}
