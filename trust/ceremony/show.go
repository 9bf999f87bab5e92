package ceremony

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
)

const (
	demoWarning = "DEMO: the keepers' keys were made beside the control plane. This house protects nothing."
	soloWarning = "SOLO: one person alone can be enough in this house."
)

// Summary is what a trust repository says. Its JSON is stable: fields may be
// added, none is renamed. Text is the same for people.
type Summary struct {
	House     canon.Digest     `json:"house"` // SHA-256 of 1.root.json
	Demo      bool             `json:"demo"`
	Solo      bool             `json:"solo"`
	Versions  trust.Versions   `json:"versions"`
	Expires   map[string]int64 `json:"expires"` // by TUF role, Unix seconds
	Threshold int              `json:"keepers_needed"`
	Keepers   []string         `json:"keepers"` // TUF key ids, ascending
	Quorums   []trust.Quorum   `json:"quorums"`
	People    []trust.Person   `json:"people"`
	Hosts     []trust.Host     `json:"hosts"`
	Origins   []SummaryOrigin  `json:"origins"`
	Log       string           `json:"log"`
	Witnesses []tlog.Witness   `json:"witnesses"`
	Policy    string           `json:"witness_policy"` // C2SP text
	Critical  change.List      `json:"critical"`
	Bundle    canon.Digest     `json:"policy_bundle"` // "" when none is pinned
}

// SummaryOrigin is an origin with its keyring's digest.
type SummaryOrigin struct {
	trust.Origin
	Digest canon.Digest `json:"keyring_sha256"`
}

// Show loads the repository in fsys as every reader does, and sums it up.
func Show(fsys fs.FS, pinned canon.Digest, now time.Time) (Summary, error) {
	s := seen{fsys, Files{}}
	r, err := trust.Load(s, pinned, trust.Versions{}, now)
	if err != nil {
		return Summary{}, err
	}
	policy, err := tlog.ParsePolicy(r.Witnesses)
	if err != nil {
		return Summary{}, err
	}
	sum := Summary{
		House: r.ID, Solo: r.Solo, Versions: r.Versions, Quorums: r.Quorums, People: r.People, Hosts: r.Hosts, Origins: []SummaryOrigin{},
		Log: policy.Origin(), Witnesses: policy.Witnesses(), Policy: r.Witnesses, Critical: r.Critical, Bundle: r.Policy.Bundle,
	}
	for _, o := range r.Origins {
		sum.Origins = append(sum.Origins, SummaryOrigin{o, canon.SumFile(r.Keyrings[o.Keyring])})
	}
	return sum, sum.signed(s.read)
}

// signed adds what only the metadata says: keepers, ends, and the demo mark.
func (s *Summary) signed(f Files) error {
	v := s.Versions
	root, err := new(metadata.Metadata[metadata.RootType]).FromBytes(f[fmt.Sprintf("%d.root.json", v.Root)])
	if err != nil {
		return err
	}
	timestamp, err := new(metadata.Metadata[metadata.TimestampType]).FromBytes(f["timestamp.json"])
	if err != nil {
		return err
	}
	snapshot, err := new(metadata.Metadata[metadata.SnapshotType]).FromBytes(f[fmt.Sprintf("%d.snapshot.json", v.Snapshot)])
	if err != nil {
		return err
	}
	s.Expires = map[string]int64{"root": root.Signed.Expires.Unix(), "timestamp": timestamp.Signed.Expires.Unix(), "snapshot": snapshot.Signed.Expires.Unix()}
	for role, n := range map[string]int64{"targets": v.Targets, "hosts": v.Hosts} {
		t, err := new(metadata.Metadata[metadata.TargetsType]).FromBytes(f[fmt.Sprintf("%d.%s.json", n, role)])
		if err != nil {
			return err
		}
		s.Expires[role] = t.Signed.Expires.Unix()
	}
	s.Demo = root.Signed.UnrecognizedFields[DemoField] == true
	s.Threshold, s.Keepers = root.Signed.Roles[metadata.ROOT].Threshold, slices.Sorted(slices.Values(root.Signed.Roles[metadata.ROOT].KeyIDs))
	return nil
}

// seen keeps the metadata that Load read, so that what is summed up is what was
// verified.
type seen struct {
	base fs.FS
	read Files
}

// maxSeen is more than trust.Load accepts of one metadata file.
const maxSeen = 2 << 20

// Open gives targets as they are, and metadata the same each time.
func (s seen) Open(name string) (fs.File, error) {
	if strings.HasPrefix(name, "targets/") {
		return s.base.Open(name)
	}
	if _, again := s.read[name]; !again {
		f, err := s.base.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxSeen))
		if err != nil {
			return nil, err
		}
		s.read[name] = b
	}
	return s.read.Open(name)
}

// Text is the summary for people: stable, warnings first.
func (s Summary) Text() string {
	var b strings.Builder
	if s.Demo {
		fmt.Fprintf(&b, "%s\n", demoWarning)
	}
	if s.Solo {
		fmt.Fprintf(&b, "%s\n", soloWarning)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	v := s.Versions
	line("house\t%s", s.House)
	line("versions\troot %d, timestamp %d, snapshot %d, targets %d, hosts %d", v.Root, v.Timestamp, v.Snapshot, v.Targets, v.Hosts)
	first := slices.MinFunc(slices.Sorted(maps.Keys(s.Expires)), func(a, b string) int { return int(s.Expires[a] - s.Expires[b]) })
	line("expires\t%s (%s)", stamp(s.Expires[first]), first)
	line("keepers\t%d of %d must sign", s.Threshold, len(s.Keepers))
	for _, id := range s.Keepers {
		line("\t%s", id)
	}
	line("log\t%s", s.Log)
	for _, n := range s.Witnesses {
		line("witness\t%s at %s", n.Name, n.URL)
	}
	for _, q := range s.Quorums {
		line("quorum\t%s: %s", q.For, quorumText(q))
	}
	for _, p := range s.People {
		line("person\t%s (%s)", p.ID, strings.Join(p.Roles, ", "))
		for _, c := range p.Credentials {
			line("\t%s", credentialText(c))
		}
	}
	for _, h := range s.Hosts {
		line("host\t%s domain %s%s", h.ID.Short(), h.Domain, labelText(h.Labels))
	}
	for _, o := range s.Origins {
		line("origin\t%s: %s %s, signed by %d of %s (%s)", o.ID, o.Label, o.Codename, o.Signers, o.Keyring, o.Digest.Short())
	}
	line("critical\t%d packages, %d paths", len(s.Critical.Packages), len(s.Critical.Paths))
	if s.Bundle == "" {
		line("policy\tnone pinned")
	} else {
		line("policy\t%s", s.Bundle)
	}
	w.Flush() // cannot fail: b is memory
	return b.String()
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

func quorumText(q trust.Quorum) string {
	text := fmt.Sprintf("%d people", q.People)
	if q.People == 1 {
		text = "1 person"
	}
	for i, n := range q.Roles {
		text += fmt.Sprintf("%s %d %s", []string{", with", " and"}[min(i, 1)], n.People, n.Role)
	}
	return text
}

func credentialText(c trust.Credential) string {
	text := fmt.Sprintf("%s %s %s", c.ID.Short(), c.Method, c.Algorithm)
	if c.RelyingParty != "" {
		text += " for " + c.RelyingParty
	}
	if !c.Independent() {
		text += ", no independent view"
	}
	if c.Revoked {
		text += ", REVOKED"
	}
	return text
}

func labelText(labels []trust.Label) string {
	text := ""
	for _, l := range labels {
		text += " " + l.Key + "=" + l.Value
	}
	return text
}
