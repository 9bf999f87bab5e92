package policy

import (
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// Input is everything the rules may look at. Its canonical bytes are kept with
// the verdict, so that anyone can evaluate again.
type Input struct {
	Type     string           `json:"type"`
	At       int64            `json:"at"` // Unix seconds: the only time the rules know
	Plan     plan.Header      `json:"plan"`
	Branches []plan.Branch    `json:"branches"`
	Dossier  proposal.Dossier `json:"dossier"`
	Hosts    []Host           `json:"hosts"` // of the branches, in their order
	Facts    Facts            `json:"facts"`
	Grant    canon.Digest     `json:"grant"` // the grant the plan is to run under, or ""
	Solo     bool             `json:"solo"`
}

// Host is what the trust root says about a host of the plan.
type Host struct {
	ID     trust.HostID  `json:"id"`
	Domain string        `json:"domain"`
	Labels []trust.Label `json:"labels"`
}

// NewInput gathers what the rules see. A host that the trust root does not know
// appears without domain and labels. To facts is added what trust root and
// dossier say (Facts); given the facts of an earlier input it gives that input.
func NewInput(root trust.Root, h plan.Header, branches []plan.Branch, d proposal.Dossier, facts Facts, grant canon.Digest, at int64) Input {
	in := Input{Type: TypeInput, At: at, Plan: h, Branches: branches, Dossier: d, Hosts: []Host{}, Facts: facts.with(root, branches, d, at), Grant: grant, Solo: root.Solo}
	for _, b := range branches {
		known, _ := root.Host(b.Host)
		in.Hosts = append(in.Hosts, Host{ID: b.Host, Domain: known.Domain, Labels: append([]trust.Label{}, known.Labels...)})
	}
	return in
}

// Bytes are the input's canonical bytes.
func (in Input) Bytes() []byte { return canon.MustEncode(in) }

// InputDigest names input bytes.
func InputDigest(b []byte) canon.Digest { return canon.Sum(TypeInput, b) }
