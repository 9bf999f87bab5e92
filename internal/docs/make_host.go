package docs

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	xtlog "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

func codeOf(text string) refusal.Code { return refusal.Code(text) }

func verdictEntry(v policy.Verdict) []byte { return evidence.VerdictEntry(v).Bytes() }

func (m *maker) logFile() Log {
	f := Log{About: "A small log: entries, inclusion and consistency proofs under the policy. entry is an index into entries.", Policy: m.house.Root.Witnesses}
	leaves := [][]byte{writ.PlanEntry(m.whole.header).Bytes()}
	for i, kind := range []string{"approval", "approval", "verdict", "writ", "receipt", "halt"} {
		leaves = append(leaves, tlog.NewEntry(kind, sum(fmt.Sprint(kind, i)), m.now+int64(i)).Bytes())
	}
	for _, l := range leaves {
		h := xtlog.RecordHash(l)
		f.Entries = append(f.Entries, LogLeaf{string(l), canon.Digest(fmt.Sprintf("%x", h[:]))})
	}
	policy, err := tlog.ParsePolicy(f.Policy)
	m.note(err)
	prove := func(size, n int, times ...int64) tlog.Proof {
		p, err := m.house.Prove(leaves[:size], n, times...)
		m.note(err)
		return p
	}
	states := map[int]tlog.Checkpoint{}
	for _, p := range []struct {
		size, n int
		times   []int64
	}{{1, 0, []int64{m.now, m.now}}, {5, 4, []int64{m.now + 10, m.now + 30, m.now + 20}}, {7, 0, []int64{m.now + 40, m.now + 40, m.now + 40}}} {
		text := prove(p.size, p.n, p.times...)
		raw, err := base64.StdEncoding.DecodeString(string(text))
		m.note(err)
		var e tlog.Entry
		m.note(canon.Decode(leaves[p.n], &e))
		v, err := policy.Verify(e, text)
		m.note(err)
		states[p.size] = v.Checkpoint
		f.Proofs = append(f.Proofs, LogProof{p.n, text, string(raw), v.Checkpoint, v.Time, v.Witnesses})
	}
	for _, pair := range [][2]int{{1, 5}, {5, 7}, {1, 7}} {
		path, err := trusttest.Consistent(leaves[:pair[1]], int64(pair[0]))
		m.note(err)
		f.Consistency = append(f.Consistency, LogConsistent{states[pair[0]], states[pair[1]], path})
	}
	whole := prove(5, 4, m.now, m.now)
	f.Refused = []LogRefused{
		{"another entry", 3, whole, tlog.CodeInclusion},
		{"too few witnesses", 4, prove(5, 4, m.now), tlog.CodeQuorum},
		{"one bit of a cosignature", 4, tlog.Proof(flip(string(whole), -10, 1)), tlog.CodeCosignature},
		{"a byte behind", 4, tlog.Proof(base64.StdEncoding.EncodeToString(append(decoded(whole), '\n'))), tlog.CodeCheckpoint},
		{"an empty proof", 4, "", tlog.CodeProof},
	}
	edit := func(old, new string) string { return strings.Replace(f.Policy, old, new, 1) }
	f.BadPolicies = []BadPolicy{
		{"no quorum", edit("quorum witnesses", "quorum none"), tlog.CodePolicyOpen},
		{"a witness counts twice", edit("group witnesses 2 ", "group witnesses 2 w1.example "), tlog.CodePolicyCount},
		{"a key twice", f.Policy + strings.Split(f.Policy, "\n")[1] + "\n", tlog.CodePolicyKey},
	}
	return f
}

func decoded(p tlog.Proof) []byte {
	b, err := base64.StdEncoding.DecodeString(string(p))
	if err != nil {
		panic(err)
	}
	return b
}

// approved is a writ for a host of the first wave that people approved; the
// host has seen an earlier state of the log.
func (m *maker) approved() *writtest.Case {
	c := writtest.New(m.house)
	signed, err := m.house.Witnessed(c.Entries()[:3], m.now-600, m.now-600)
	m.note(err)
	policy, err := tlog.ParsePolicy(m.house.Root.Witnesses)
	m.note(err)
	seen, err := policy.Checkpoint(signed)
	m.note(err)
	c.Memory.Checkpoint, c.Memory.Time = seen.Checkpoint, seen.Time
	c.Memory.Floors = []writ.Floor{{Key: pack + ":amd64", Scheme: "deb", Version: from}}
	return c
}

// granted is a writ under a grant whose soak has just ended.
func (m *maker) granted() *writtest.Case {
	c := writtest.New(m.house)
	c.Grant = c.GrantFor()
	c.StoodAt = c.Now - 3600
	return c
}

// later is a writ for the second wave, with the first host's receipt.
func (m *maker) later() *writtest.Case {
	c, first := writtest.New(m.house), m.house.Hosts[0]
	c.Host = m.house.Hosts[1]
	up := writtest.Upgrade(pack, from, to)
	c.Branches = []plan.Branch{writtest.Branch(first.ID, 0, up), writtest.Branch(c.Host.ID, 1, up)}
	slices.SortFunc(c.Branches, func(a, b plan.Branch) int { return strings.Compare(string(a.Host), string(b.Host)) })
	c.Header.Waves = append(c.Header.Waves, plan.Wave{NotBefore: c.Now, Hosts: 1, Good: 1})
	c.Memory = writ.NewMemory(c.Host.ID, m.house.Root.ID).Asking(writtest.Nonce, c.Now-5)
	c.EditWrit = func(w *writ.Writ) {
		leaves, n := [][]byte{}, 0
		for i, b := range c.Branches {
			leaves = append(leaves, b.Bytes())
			if b.Host == first.ID {
				n = i
			}
		}
		path, err := whole.Path(leaves, n)
		m.note(err)
		r := writtest.SignReceipt(m.receipt(w.Body.Plan), first.Key)
		w.Earlier = []writ.Earlier{{Receipt: r, Branch: c.Branches[n], Index: n, Path: path}}
	}
	return c
}

// receipt is the first host's, of a step that went well.
func (m *maker) receipt(of canon.Digest) writ.Receipt {
	return writ.Receipt{Type: writ.TypeReceipt, Host: m.house.Hosts[0].ID, Writ: sum("a writ"), Plan: of, Shown: writ.Shown([]byte("a writ file"), nil), Outcome: writ.Done,
		States:    []writ.State{{Package: pack, Arch: "amd64", Before: from, After: to, Status: "installed"}},
		Effective: writ.Effective{Installed: writ.Yes, Running: writ.No, Rescanned: writ.Unknown, Healthy: writ.Unknown, Attested: writ.Unknown, Stale: []string{"812 nginx /usr/lib/x86_64-linux-gnu/libssl.so.3"}},
		Started:   m.now - 300, Ended: m.now - 290}
}

func (m *maker) writFile() Writ {
	f := Writ{About: "Whole writs, judged by writ.Verify under the root of trust.json with the memory given and the host's clock at now. In refused, what is empty is as in the good one named of; replace puts its second string for the first occurrence of its first in the writ's bytes.",
		Good: []WritGood{m.writ("approved", m.approved()), m.writ("under a grant", m.granted()), m.writ("second wave", m.later())}}
	two, old := 1, m.approved()
	forgot := old.Memory.Asking("", 0)
	old.Raw() // its header has the plan's tree from here on
	used := old.Memory
	used.Consumed = []writ.Consumed{{Plan: old.Header.Digest(), Expires: m.now + 3600}}
	another := old.Memory
	another.Host = m.house.Hosts[1].ID
	newer := old.Memory
	newer.Generation = 3
	higher := old.Memory
	higher.Floors = []writ.Floor{{Key: pack + ":amd64", Scheme: "deb", Version: "3.0.99-1"}}
	text := func(mem writ.Memory) string { return string(canon.MustEncode(mem)) }
	f.Refused = []WritRefused{
		{Name: "used before", Of: "approved", Memory: text(used), Code: "PW-WRIT-CONSUMED"},
		{Name: "another host", Of: "approved", Memory: text(another), Code: "PW-WRIT-HOST"},
		{Name: "older than a plan acted on", Of: "approved", Memory: text(newer), Code: "PW-WRIT-GENERATION"},
		{Name: "below what the host had", Of: "approved", Memory: text(higher), Code: "PW-WRIT-FLOOR"},
		{Name: "no lease was asked for", Of: "approved", Memory: text(forgot), Code: "PW-WRIT-LEASE"},
		{Name: "one lease of three", Of: "approved", Leases: &two, Code: "PW-WRIT-LEASE"},
		{Name: "eleven minutes after the lease was asked for", Of: "approved", Now: m.now + 660, Code: "PW-WRIT-LEASE"},
		{Name: "nothing shows that the log only grew", Of: "approved", NoProof: true, Code: "PW-WRIT-NOCONSISTENCY"},
		{Name: "white space", Of: "approved", Replace: []string{`{"approvals"`, `{ "approvals"`}, Code: "PW-WRIT-FORM"},
		{Name: "a longer life than was logged", Of: "approved", Replace: []string{fmt.Sprintf(`"expires":%d,"grant"`, m.now+3600), fmt.Sprintf(`"expires":%d,"grant"`, m.now+3601)}, Code: "PW-WRIT-LOG"},
		{Name: "a branch that takes the network", Of: "approved", Replace: []string{`"network":false`, `"network":true`}, Code: "PW-WRIT-BRANCH"},
		{Name: "a header nobody signed", Of: "approved", Replace: []string{`"leaves":1,"nonce":"11`, `"leaves":1,"nonce":"12`}, Code: "PW-WRIT-PLAN"},
		{Name: "an approval's time changed", Of: "approved", Replace: []string{fmt.Sprintf(`"at":%d`, m.now), fmt.Sprintf(`"at":%d`, m.now+1)}, Code: "PW-WRIT-APPROVAL"},
		{Name: "another grant", Of: "under a grant", Replace: []string{`"budget":`, `"budget":1`}, Code: "PW-WRIT-GRANT"},
		{Name: "a receipt the host did not sign", Of: "second wave", Replace: []string{`"simulated":false`, `"simulated":true`}, Code: "PW-WRIT-RECEIPTS"},
	}
	return f
}

// writ judges a case and writes down what came out.
func (m *maker) writ(name string, c *writtest.Case) WritGood {
	raw := c.Raw()
	v, next, err := writ.Verify(raw, m.house.Root, c.Memory, at(m.now))
	m.note(err)
	var w writ.Writ
	m.note(canon.Decode(raw.Writ, &w))
	g := WritGood{Name: name, Now: m.now, Memory: string(canon.MustEncode(c.Memory)), Writ: string(raw.Writ), Leases: []string{}, Consistency: append([]canon.Digest{}, raw.Consistency...),
		Digest: v.Digest(), Approvals: w.Body.Approvals, Shown: v.Shown(), Changes: string(canon.MustEncode(v.Changes())), Next: string(canon.MustEncode(next))}
	for _, l := range raw.Leases {
		g.Leases = append(g.Leases, string(l))
	}
	return g
}

func (m *maker) leaseFile() Lease {
	w, host := m.house.Witnesses[0], m.house.Hosts[0]
	q := ask.LeaseRequest{Type: ask.TypeLeaseRequest, Host: host.ID, Nonce: writtest.Nonce}
	l := writtest.SignLease(writ.Lease{Type: writ.TypeLease, Witness: w.Name, Host: host.ID, Nonce: q.Nonce, Time: m.now,
		Checkpoint: tlog.Checkpoint{Origin: m.house.Log.Origin, Size: 7, Hash: sum("a root")}, Trust: m.house.Root.ID, Versions: m.house.Root.Versions}, w.Key)
	text := string(canon.MustEncode(l))
	return Lease{About: "What a host asks a witness, and the lease. The signature is over the 32 bytes of digest, which covers the lease with an empty signature.",
		Request: string(canon.MustEncode(q)), Lease: text, Digest: l.Digest(), Public: fmt.Sprintf("%x", w.Key.Public()),
		Refused: []CanonBad{
			{"another time", strings.Replace(text, fmt.Sprintf(`"time":%d`, m.now), fmt.Sprintf(`"time":%d`, m.now+1), 1)},
			{"another host", strings.Replace(text, string(host.ID), string(m.house.Hosts[1].ID), 1)},
			{"no signature", strings.Replace(text, l.Signature, "", 1)},
		}}
}

func (m *maker) receiptFile() Receipt {
	host := m.house.Hosts[0]
	r := m.receipt(m.whole.header.Digest())
	r.Checkpoint = tlog.Checkpoint{Origin: m.house.Log.Origin, Size: 7, Hash: sum("a root")}
	r = writtest.SignReceipt(r, host.Key)
	text := string(canon.MustEncode(r))
	return Receipt{About: "What a host signs afterwards. The signature is over the 32 bytes of digest, which covers the receipt with an empty signature.",
		Receipt: text, Digest: r.Digest(), Entry: string(r.Entry().Bytes()), Public: host.Public, Good: r.Good(),
		Refused: []CanonBad{
			{"another outcome", strings.Replace(text, `"outcome":"done"`, `"outcome":"failed"`, 1)},
			{"another version afterwards", strings.Replace(text, `"after":"`+to, `"after":"`+from, 1)},
			{"another host", strings.Replace(text, string(host.ID), string(m.house.Hosts[1].ID), 1)},
		}}
}
