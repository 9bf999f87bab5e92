package writ_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// granted is a good case under a grant whose soak has just ended.
func granted() *writtest.Case {
	c := writtest.New(house)
	c.Grant = c.GrantFor()
	c.StoodAt = c.Now - 3600
	return c
}

// second is a good case for the second host, in wave 1, with the first host's
// good receipt.
func second() *writtest.Case {
	c := writtest.New(house)
	c.Host = house.Hosts[1]
	up := writtest.Upgrade("openssl", "3.0.20-1~deb12u2", "3.0.22-1~deb12u2")
	c.Branches = []plan.Branch{writtest.Branch(house.Hosts[0].ID, 0, up), writtest.Branch(c.Host.ID, 1, up)}
	slices.SortFunc(c.Branches, func(a, b plan.Branch) int { return strings.Compare(string(a.Host), string(b.Host)) })
	c.Header.Waves = append(c.Header.Waves, plan.Wave{NotBefore: c.Now, Hosts: 1, Good: 1})
	c.Memory = writ.NewMemory(c.Host.ID, house.Root.ID).Asking(writtest.Nonce, c.Now-5)
	carry(c, func(*writ.Earlier) {})
	return c
}

// carry puts the first host's receipt into the writ, spoilt before signing.
func carry(c *writtest.Case, spoil func(*writ.Earlier)) {
	c.EditWrit = func(w *writ.Writ) {
		leaves, n := [][]byte{}, 0
		for i, b := range c.Branches {
			leaves = append(leaves, b.Bytes())
			if b.Host == house.Hosts[0].ID {
				n = i
			}
		}
		path, err := whole.Path(leaves, n)
		if err != nil {
			panic(err)
		}
		r := writ.Receipt{Type: writ.TypeReceipt, Host: house.Hosts[0].ID, Writ: canon.SumFile([]byte("w")), Plan: w.Body.Plan, Outcome: writ.Done,
			States: []writ.State{}, Effective: writ.Effective{Installed: writ.Yes, Running: writ.Yes, Rescanned: writ.Unknown, Healthy: writ.Unknown, Attested: writ.Unknown, Stale: []string{}}}
		e := writ.Earlier{Receipt: r, Branch: c.Branches[n], Index: n, Path: path}
		spoil(&e)
		if e.Receipt.Signature == "" {
			e.Receipt = writtest.SignReceipt(e.Receipt, house.Hosts[0].Key)
		}
		w.Earlier = []writ.Earlier{e}
	}
}

// matrix: each row breaks exactly one thing of a good case and names the code.
var matrix = []struct {
	name  string
	code  refusal.Code
	says  string // part of the detail, where one code has several causes
	good  func() *writtest.Case
	spoil func(*writtest.Case)
}{
	{"not canonical", "PW-WRIT-FORM", "other bytes", nil, func(c *writtest.Case) { c.EditRaw = func(r *writ.Raw) { r.Writ = append(r.Writ, '\n') } }},
	{"empty", "PW-WRIT-FORM", "", nil, func(c *writtest.Case) { c.EditRaw = func(r *writ.Raw) { r.Writ = nil } }},
	{"file type", "PW-WRIT-FORM", "type", nil, func(c *writtest.Case) { c.EditWrit = func(w *writ.Writ) { w.Type = writ.TypeLease } }},
	{"body type", "PW-WRIT-FORM", "type", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Type = writ.TypeLease } }},
	{"nonce", "PW-WRIT-FORM", "nonce", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Nonce = "ab" } }},
	{"host no digest", "PW-WRIT-FORM", "nonce", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Host = "*" } }},
	{"plan no digest", "PW-WRIT-FORM", "nonce", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Plan = "" } }},
	{"branch no digest", "PW-WRIT-FORM", "nonce", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Branch = "" } }},
	{"verdict no digest", "PW-WRIT-FORM", "nonce", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Verdict = "" } }},
	{"grant named, not carried", "PW-WRIT-FORM", "0 grants", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Grant = canon.SumFile(nil) } }},
	{"grant no digest", "PW-WRIT-FORM", "grant", granted, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Grant = "x" } }},
	{"two grants", "PW-WRIT-FORM", "2 grants", granted, func(c *writtest.Case) {
		c.EditWrit = func(w *writ.Writ) { w.Grants = append(w.Grants, w.Grants[0]) }
	}},

	{"no root", "PW-WRIT-ROOT", "no trust root", nil, func(c *writtest.Case) {
		c.House.Root = trust.Root{ID: c.House.Root.ID, Versions: c.House.Root.Versions, Witnesses: c.House.Root.Witnesses}
	}},
	{"enrolled elsewhere", "PW-WRIT-ROOT", "enrolled", nil, func(c *writtest.Case) { c.Memory.Root = canon.SumFile(nil) }},
	{"no memory", "PW-WRIT-ROOT", "enrolled", nil, func(c *writtest.Case) { c.Memory.Type = "" }},
	{"root went back", "PW-WRIT-ROOT", "went back", nil, func(c *writtest.Case) { c.Memory.Versions = c.House.Root.Versions; c.Memory.Versions.Targets++ }},
	{"root without witnesses", "PW-WRIT-ROOT", "PW-LOG", nil, func(c *writtest.Case) { c.EditRaw = func(*writ.Raw) { c.House.Root.Witnesses = "quorum none" } }},
	{"newer root", "PW-WRIT-TRUST", "made under", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Trust.Hosts++ } }},
	{"witnesses know a newer root", "PW-WRIT-TRUST", "newer trust root", nil, func(c *writtest.Case) {
		c.EditLease = func(n int, l *writ.Lease) {
			if n < 2 {
				l.Versions.Targets++
			}
		}
	}},

	{"other host's", "PW-WRIT-HOST", "this is", nil, func(c *writtest.Case) {
		c.Memory = writ.NewMemory(house.Hosts[1].ID, house.Root.ID).Asking(writtest.Nonce, c.Now-5)
		c.EditLease = func(_ int, l *writ.Lease) { l.Host = house.Hosts[1].ID }
	}},
	{"host not in the root", "PW-WRIT-HOST", "not in", nil, func(c *writtest.Case) {
		stranger := trust.HostOf([]byte("stranger"))
		c.Memory.Host, c.Host.ID, c.Branches[0].Host = stranger, stranger, stranger
	}},
	{"replayed", "PW-WRIT-CONSUMED", "", nil, func(c *writtest.Case) {
		c.EditBody = func(b *writ.Body) {
			c.Memory.Consumed = append(c.Memory.Consumed, writ.Consumed{Plan: b.Plan, Expires: b.Expires})
		}
	}},
	{"older generation", "PW-WRIT-GENERATION", "", nil, func(c *writtest.Case) { c.Memory.Generation = 3 }},

	{"no lease", "PW-WRIT-LEASE", "0 good leases", nil, func(c *writtest.Case) { c.Leases = []int64{} }},
	{"one lease of three", "PW-WRIT-LEASE", "1 good lease", nil, func(c *writtest.Case) { c.Leases = []int64{c.Now} }},
	{"never asked", "PW-WRIT-LEASE", "asked for none", nil, func(c *writtest.Case) { c.Memory.Nonce = "" }},
	{"old lease", "PW-WRIT-LEASE", "good for", nil, func(c *writtest.Case) { c.Memory.NonceAt = c.Now - writ.LeaseLife - 1 }},
	{"lease from the future", "PW-WRIT-LEASE", "good for", nil, func(c *writtest.Case) { c.Memory.NonceAt = c.Now + 1 }},
	{"other nonce", "PW-WRIT-LEASE", "another nonce", nil, func(c *writtest.Case) {
		c.EditLease = func(_ int, l *writ.Lease) { l.Nonce = strings.Repeat("00", 32) }
	}},
	{"other host's lease", "PW-WRIT-LEASE", "lease for host", nil, func(c *writtest.Case) { c.EditLease = func(_ int, l *writ.Lease) { l.Host = house.Hosts[1].ID } }},
	{"lease of another kind", "PW-WRIT-LEASE", "type", nil, func(c *writtest.Case) { c.EditLease = func(_ int, l *writ.Lease) { l.Type = writ.TypeReceipt } }},
	{"lease of another house", "PW-WRIT-LEASE", "under trust root", nil, func(c *writtest.Case) { c.EditLease = func(_ int, l *writ.Lease) { l.Trust = canon.SumFile(nil) } }},
	{"lease of another log", "PW-WRIT-LEASE", "for log", nil, func(c *writtest.Case) {
		c.EditLease = func(_ int, l *writ.Lease) { l.Checkpoint.Origin = "evil.example" }
	}},
	{"lease of a stranger", "PW-WRIT-LEASE", "not in the policy", nil, func(c *writtest.Case) { c.EditLease = func(_ int, l *writ.Lease) { l.Witness = "stranger" } }},
	{"one witness twice", "PW-WRIT-LEASE", "", nil, func(c *writtest.Case) {
		c.EditRaw = func(r *writ.Raw) { r.Leases = [][]byte{r.Leases[0], r.Leases[0]} }
	}},
	{"witness signs for another", "PW-WRIT-LEASE", "does not verify", nil, func(c *writtest.Case) {
		c.EditLease = func(n int, l *writ.Lease) { l.Witness = house.Witnesses[(n+1)%3].Name }
	}},
	{"lease not canonical", "PW-WRIT-LEASE", "canonical", nil, func(c *writtest.Case) {
		c.EditRaw = func(r *writ.Raw) {
			for i := range r.Leases {
				r.Leases[i] = append(r.Leases[i], ' ')
			}
		}
	}},
	{"lease signature no hex", "PW-WRIT-LEASE", "does not verify", nil, func(c *writtest.Case) {
		c.EditRaw = func(r *writ.Raw) {
			for i := range r.Leases {
				r.Leases[i] = []byte(strings.Replace(string(r.Leases[i]), `"signature":"`, `"signature":"zz`, 1))
			}
		}
	}},
	{"witnesses' time went back", "PW-WRIT-LEASE", "went back", nil, func(c *writtest.Case) { c.Memory.Time = c.Now + 1000 }},
	{"clock a day ahead", "PW-WRIT-CLOCK", "", nil, func(c *writtest.Case) { c.Leases = slices.Repeat([]int64{c.Now - 25*3600}, 3) }},
	{"clock a day behind", "PW-WRIT-CLOCK", "", nil, func(c *writtest.Case) { c.Leases = slices.Repeat([]int64{c.Now + 25*3600}, 3) }},

	{"lives too long", "PW-WRIT-LIFE", "", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Expires = b.Issued + writ.MaxLife + 1 } }},
	{"ends before it began", "PW-WRIT-LIFE", "", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Expires = b.Issued } }},
	{"expired", "PW-WRIT-EXPIRED", "the writ ended", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Issued, b.Expires = c.Now-100, c.Now } }},
	{"expired plan", "PW-WRIT-EXPIRED", "the plan ended", nil, func(c *writtest.Case) { c.Header.Expires = c.Now; c.Header.Waves[0].NotBefore = c.Now - 60 }},
	{"issued in the future", "PW-WRIT-EARLY", "issued", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Issued = c.Now + 121 } }},
	{"plan of the future", "PW-WRIT-EARLY", "issued", nil, func(c *writtest.Case) { c.Header.Created = c.Now + 121 }},
	{"wave has not begun", "PW-WRIT-EARLY", "wave 0", nil, func(c *writtest.Case) { c.Header.Waves[0].NotBefore = c.Now + 1 }},

	{"malformed plan", "PW-WRIT-PLAN", "lives from", nil, func(c *writtest.Case) { c.Header.Expires = c.Header.Created + plan.MaxLife + 1 }},
	{"other plan", "PW-WRIT-PLAN", "the writ names", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Plan = canon.SumFile(nil) } }},
	{"plan edited", "PW-WRIT-PLAN", "the writ names", nil, func(c *writtest.Case) { c.EditWrit = func(w *writ.Writ) { w.Header.Note = "x" } }},
	{"malformed branch", "PW-WRIT-BRANCH", "back another way", nil, func(c *writtest.Case) { c.Branches[0].Rollback[0].To = "3.0.19" }},
	{"branch for another host", "PW-WRIT-BRANCH", "the branch is for", second, func(c *writtest.Case) {
		inner := c.EditWrit
		c.EditWrit = func(w *writ.Writ) {
			inner(w)
			w.Branch, w.Index, w.Path = w.Earlier[0].Branch, w.Earlier[0].Index, w.Earlier[0].Path
		}
	}},
	{"writ names another branch", "PW-WRIT-BRANCH", "names another", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Branch = canon.SumFile(nil) } }},
	{"package swapped", "PW-WRIT-BRANCH", "not in the plan's tree", nil, func(c *writtest.Case) {
		c.EditWrit = func(w *writ.Writ) { w.Branch.Changes[0].Artefact = canon.SumFile([]byte("trojan")) }
		c.Sealed = false
		c.EditBody = func(b *writ.Body) {
			swapped := c.Branches[0]
			swapped.Changes = slices.Clone(swapped.Changes)
			swapped.Changes[0].Artefact = canon.SumFile([]byte("trojan"))
			b.Branch = canon.Sum(plan.TypeBranch, swapped.Bytes())
		}
	}},
	{"wrong place in the tree", "PW-WRIT-BRANCH", "", second, func(c *writtest.Case) {
		inner := c.EditWrit
		c.EditWrit = func(w *writ.Writ) { inner(w); w.Index = 1 - w.Index }
	}},

	{"below the floor", "PW-WRIT-FLOOR", "this host had", nil, func(c *writtest.Case) {
		c.Memory.Floors = []writ.Floor{{Key: "openssl:amd64", Scheme: "deb", Version: "3.0.23"}}
	}},
	{"floor that cannot be read", "PW-WRIT-FLOOR", "", nil, func(c *writtest.Case) {
		c.Memory.Floors = []writ.Floor{{Key: "openssl:amd64", Scheme: "deb", Version: "not a version"}}
	}},
	{"floor of another scheme", "PW-WRIT-FLOOR", "", nil, func(c *writtest.Case) {
		c.Memory.Floors = []writ.Floor{{Key: "openssl:amd64", Scheme: "rpm", Version: "1"}}
	}},

	{"nobody approved", "PW-WRIT-APPROVAL", "", nil, func(c *writtest.Case) { c.Signers = []int{} }},
	{"one person", "PW-WRIT-APPROVAL", "", nil, func(c *writtest.Case) { c.Signers = []int{0} }},
	{"one person twice", "PW-WRIT-APPROVAL", "", nil, func(c *writtest.Case) { c.Signers = []int{0, 0} }},
	{"author approves", "PW-WRIT-APPROVAL", "", nil, func(c *writtest.Case) { c.Signers = []int{0, 2} }},
	{"no quorum for the class", "PW-WRIT-APPROVAL", "no quorum", nil, func(c *writtest.Case) { c.House.Root.Quorums = []trust.Quorum{} }},
	{"approvals exchanged after logging", "PW-WRIT-APPROVAL", "other approvals", nil, func(c *writtest.Case) { c.EditWrit = func(w *writ.Writ) { w.Approvals[0].At++ } }},
	{"approvals no digest", "PW-WRIT-FORM", "nonce", nil, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Approvals = "" } }},
	{"class quorum not met", "PW-WRIT-APPROVAL", "critical", nil, func(c *writtest.Case) {
		// Persons 1 and 3 are owners only; person 2, the security officer, wrote the plan.
		c.Header.Class, c.Branches[0].Changes[0].Class = change.Critical, change.Critical
		c.Header.Author, c.Signers = house.People[1].ID, []int{0, 2}
	}},
	{"approval of another plan", "PW-WRIT-APPROVAL", "", nil, func(c *writtest.Case) {
		other := c.Header
		other.Note = "other"
		c.EditApprovals = func(w *writ.Writ) {
			s := approval.Statement{Kind: approval.Approve, Bytes: other.Bytes()}
			w.Approvals[0] = writtest.Sign(house.People[0], s, c.Now)
		}
	}},
	{"deny passed off as yes", "PW-WRIT-APPROVAL", "", nil, func(c *writtest.Case) {
		c.EditApprovals = func(w *writ.Writ) {
			s := approval.Statement{Kind: approval.Deny, Bytes: w.Header.Bytes()}
			w.Approvals[0] = writtest.Sign(house.People[0], s, c.Now)
		}
	}},
	{"downgrade without rollback quorum", "PW-WRIT-APPROVAL", "rollback", nil, func(c *writtest.Case) {
		down(c)
		c.Header.Author, c.Signers = house.People[1].ID, []int{0, 2} // no security officer among them
		c.House.Root.Quorums = slices.Clone(c.House.Root.Quorums)
		for i, q := range c.House.Root.Quorums {
			if q.For == string(change.Critical) {
				c.House.Root.Quorums[i].Roles = []trust.RoleNeed{}
			}
		}
	}},

	{"malformed grant", "PW-WRIT-GRANT", "PW-GRANT", granted, func(c *writtest.Case) { c.Grant.Nonce = "xx" }},
	{"other grant", "PW-WRIT-GRANT", "names another", granted, func(c *writtest.Case) { c.EditBody = func(b *writ.Body) { b.Grant = canon.SumFile(nil) } }},
	{"no grant quorum", "PW-WRIT-APPROVAL", "no quorum", granted, func(c *writtest.Case) {
		c.House.Root.Quorums = slices.DeleteFunc(slices.Clone(c.House.Root.Quorums), func(q trust.Quorum) bool { return q.For == "grant" })
	}},
	{"grant signed by one", "PW-WRIT-APPROVAL", "quorum grant", granted, func(c *writtest.Case) { c.Signers = []int{0} }},
	{"network under a grant", "PW-WRIT-GRANT", "network", granted, func(c *writtest.Case) { c.Branches[0].Network = true }},
	{"package not granted", "PW-WRIT-GRANT", "", granted, func(c *writtest.Case) { c.Grant.Packages = []string{"bash"} }},
	{"origin not granted", "PW-WRIT-GRANT", "", granted, func(c *writtest.Case) { c.Grant.Origins = []change.Origin{"debian-main"} }},
	{"host not in scope", "PW-WRIT-GRANT", "", granted, func(c *writtest.Case) {
		c.Grant.Scope = trust.Scope{Hosts: []trust.HostID{house.Hosts[1].ID}, Domains: []string{}, Labels: []trust.Label{}}
	}},
	{"critical package under a grant", "PW-WRIT-GRANT", "", granted, func(c *writtest.Case) {
		c.Branches[0] = writtest.Branch(c.Host.ID, 0, writtest.Upgrade("sudo", "1", "2"))
	}},
	{"ended by the keepers", "PW-WRIT-GRANT", "ended", granted, func(c *writtest.Case) {
		s := approval.Statement{Kind: approval.Allow, Bytes: canon.MustEncode(*c.Grant)}
		c.House.Root.Critical.Grants = []canon.Digest{s.Digest()}
	}},
	{"agent's package under a grant", "PW-WRIT-GRANT", "", granted, func(c *writtest.Case) {
		c.House.Root.Critical = change.List{}
		c.Branches[0] = writtest.Branch(c.Host.ID, 0, writtest.Upgrade("patchwrit-agent", "1", "2"))
	}},
	{"class above the ceiling", "PW-WRIT-GRANT", "", granted, func(c *writtest.Case) {
		c.Header.Class, c.Branches[0].Changes[0].Class = change.Sensitive, change.Sensitive
	}},
	{"plan's class above the ceiling", "PW-WRIT-GRANT", "ceiling", granted, func(c *writtest.Case) { c.Header.Class = change.Sensitive }},
	{"grant has ended", "PW-WRIT-GRANT", "it lives", granted, func(c *writtest.Case) { c.Grant.Expires = c.Now }},
	{"grant has not begun", "PW-WRIT-GRANT", "it lives", granted, func(c *writtest.Case) { c.Grant.Created, c.Grant.Expires = c.Now+121, c.Now+200 }},
	{"no proof that the plan stood", "PW-WRIT-LOG", "the plan's entry", granted, func(c *writtest.Case) {
		c.EditWrit = func(w *writ.Writ) { w.Grants[0].Proof = w.Proof }
	}},
	{"domain not in a slot", "PW-WRIT-GRANT", "", granted, func(c *writtest.Case) { c.Grant.Slots = []approval.Slot{{Domain: "b"}} }},
	{"soak", "PW-WRIT-SOAK", "", granted, func(c *writtest.Case) { c.StoodAt = c.Now - 3599 }},
	{"slot", "PW-WRIT-SOAK", "", granted, func(c *writtest.Case) { c.Grant.Slots[0].After = 1 }},
	{"budget", "PW-WRIT-BUDGET", "", granted, func(c *writtest.Case) {
		s := approval.Statement{Kind: approval.Allow, Bytes: canon.MustEncode(*c.Grant)}
		c.Memory.Spent = []writ.Spent{{Grant: s.Digest(), At: c.Now - 10, Changes: 3}}
	}},

	{"no earlier receipt", "PW-WRIT-RECEIPTS", "0 of 1", second, func(c *writtest.Case) { c.EditWrit = nil }},
	{"failed earlier", "PW-WRIT-RECEIPTS", "not good", second, spoilEarlier(func(e *writ.Earlier) { e.Receipt.Outcome = writ.Failed })},
	{"simulated earlier", "PW-WRIT-RECEIPTS", "not good", second, spoilEarlier(func(e *writ.Earlier) { e.Receipt.Simulated = true })},
	{"not installed earlier", "PW-WRIT-RECEIPTS", "not good", second, spoilEarlier(func(e *writ.Earlier) { e.Receipt.Effective.Installed = writ.Unknown })},
	{"receipt of another plan", "PW-WRIT-RECEIPTS", "another plan", second, spoilEarlier(func(e *writ.Earlier) { e.Receipt.Plan = canon.SumFile(nil) })},
	{"receipt of another wave", "PW-WRIT-RECEIPTS", "another plan", second, spoilEarlier(func(e *writ.Earlier) { e.Receipt.Wave = 1 })},
	{"receipt of another host", "PW-WRIT-RECEIPTS", "another plan", second, spoilEarlier(func(e *writ.Earlier) { e.Receipt.Host = house.Hosts[1].ID })},
	{"receipt of a stranger", "PW-WRIT-RECEIPTS", "not in the trust root", second, spoilEarlier(func(e *writ.Earlier) { e.Receipt.Host = canon.SumFile(nil) })},
	{"receipt of this very wave", "PW-WRIT-RECEIPTS", "not an earlier", second, func(c *writtest.Case) {
		c.Branches[0].Wave, c.Branches[1].Wave = 1, 1
		c.Header.Waves = []plan.Wave{{NotBefore: c.Now, Hosts: 1, Good: 1}, {NotBefore: c.Now, Hosts: 1, Good: 1}}
		carry(c, func(e *writ.Earlier) { e.Receipt.Wave = 1 })
	}},
	{"earlier branch malformed", "PW-WRIT-RECEIPTS", "changes forth", second, spoilEarlier(func(e *writ.Earlier) { e.Branch.Rollback = []change.Change{} })},
	{"earlier branch not in the plan", "PW-WRIT-RECEIPTS", "not in the plan's tree", second, spoilEarlier(func(e *writ.Earlier) { e.Branch.Network = true })},
	{"receipt of another kind", "PW-WRIT-RECEIPTS", "another host or kind", second, spoilEarlier(func(e *writ.Earlier) { e.Receipt.Type = writ.TypeLease })},
	{"receipt not signed", "PW-WRIT-RECEIPTS", "signature", second, spoilEarlier(func(e *writ.Earlier) {
		e.Receipt = writtest.SignReceipt(e.Receipt, house.Hosts[1].Key)
	})},

	{"not in the log", "PW-WRIT-LOG", "PW-LOG", nil, func(c *writtest.Case) { c.EditEntry = func(e *tlog.Entry) { e.At++ } }},
	{"inclusion of something else", "PW-WRIT-LOG", "", nil, func(c *writtest.Case) { c.EditEntry = func(e *tlog.Entry) { e.Kind = "plan" } }},
	{"generation poisoned upwards", "PW-WRIT-LOG", "claims generation", nil, func(c *writtest.Case) { c.Header.Generation = 1000 }},
	{"forked at the same size", "PW-WRIT-FORK", "this host saw", nil, func(c *writtest.Case) {
		c.Memory.Checkpoint = tlog.Checkpoint{Origin: house.Log.Origin, Size: 7, Hash: canon.SumFile(nil)}
	}},
	{"other log", "PW-WRIT-FORK", "this host saw", nil, func(c *writtest.Case) {
		c.Memory.Checkpoint = tlog.Checkpoint{Origin: "evil.example", Size: 3, Hash: canon.SumFile(nil)}
	}},
	{"forked against a witness", "PW-WRIT-FORK", "witness", nil, func(c *writtest.Case) {
		c.EditLease = func(n int, l *writ.Lease) {
			if n == 0 {
				l.Checkpoint.Hash = canon.SumFile(nil)
			}
		}
	}},
	{"inconsistent with memory", "PW-WRIT-NOCONSISTENCY", "from size 3 to 7", nil, func(c *writtest.Case) {
		c.Memory.Checkpoint = tlog.Checkpoint{Origin: house.Log.Origin, Size: 3, Hash: canon.SumFile(nil)}
	}},
	{"older than memory, no proof", "PW-WRIT-NOCONSISTENCY", "from size 7 to 9", nil, func(c *writtest.Case) {
		c.Memory.Checkpoint = tlog.Checkpoint{Origin: house.Log.Origin, Size: 9, Hash: canon.SumFile(nil)}
	}},
}

func spoilEarlier(spoil func(*writ.Earlier)) func(*writtest.Case) {
	return func(c *writtest.Case) { carry(c, spoil) }
}

// down turns the case into a good downgrade approved by the rollback quorum.
func down(c *writtest.Case) {
	ch := writtest.Upgrade("openssl", "3.0.22-1~deb12u2", "3.0.20-1~deb12u2")
	ch.Op, ch.Class = change.Downgrade, change.Critical
	c.Header.Class = change.Critical
	c.Branches[0] = writtest.Branch(c.Host.ID, 0, ch)
	c.Memory.Floors = []writ.Floor{{Key: "openssl:amd64", Scheme: "deb", Version: "3.0.22-1~deb12u2"}}
}

func TestRefusalMatrix(t *testing.T) {
	for _, row := range matrix {
		t.Run(row.name, func(t *testing.T) {
			good := row.good
			if good == nil {
				good = func() *writtest.Case { return writtest.New(house) }
			}
			if _, _, err := verify(good()); err != nil {
				t.Fatalf("the control is refused: %v", err)
			}
			c := good()
			row.spoil(c)
			v, mem, err := verify(c)
			if got := refusal.CodeOf(err); got != row.code || !strings.Contains(err.Error(), row.says) {
				t.Fatalf("got %v, want %s with %q", err, row.code, row.says)
			}
			if v.Changes() != nil || v.Take() == nil || len(mem.Consumed) != len(c.Memory.Consumed) {
				t.Error("a refused writ permits something, or changed the memory")
			}
		})
	}
}

func TestDowngradeWithRollbackQuorum(t *testing.T) {
	c := writtest.New(house)
	down(c)
	if _, _, err := verify(c); err != nil {
		t.Fatal(err)
	}
}

func TestContinuityIsProvedEitherWay(t *testing.T) {
	c := writtest.New(house)
	entries := c.Entries()
	policy, err := tlog.ParsePolicy(house.Root.Witnesses)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1; size <= len(entries); size++ {
		signed, err := house.Witnessed(entries[:size], c.Now, c.Now, c.Now)
		if err != nil {
			t.Fatal(err)
		}
		seen, err := policy.Checkpoint(signed)
		if err != nil {
			t.Fatal(err)
		}
		c.Memory.Checkpoint = seen.Checkpoint
		if _, mem, err := verify(c); err != nil || mem.Checkpoint.Size != 7 {
			t.Errorf("from size %d: %v, then at %d", size, err, mem.Checkpoint.Size)
		}
	}
	longer := append(slices.Clone(entries), []byte("later"))
	signed, _ := house.Witnessed(longer, c.Now, c.Now, c.Now)
	seen, err := policy.Checkpoint(signed)
	if err != nil {
		t.Fatal(err)
	}
	c.Memory.Checkpoint = seen.Checkpoint
	c.EditRaw = func(r *writ.Raw) { r.Consistency, _ = trusttest.Consistent(longer, 7) }
	if _, mem, err := verify(c); err != nil || mem.Checkpoint.Size != 8 {
		t.Errorf("a writ older than this host's newest checkpoint: %v, then at %d", err, mem.Checkpoint.Size)
	}
}

func TestTimeIsTheQuorumsNotTheNewest(t *testing.T) {
	c := writtest.New(house)
	c.Leases = []int64{c.Now, c.Now - 50, c.Now + 9999}
	c.EditBody = func(b *writ.Body) { b.Expires = c.Now + 1 }
	_, mem, err := verify(c)
	if err != nil || mem.Time != c.Now {
		t.Errorf("trusted time %d, want %d: %v", mem.Time, c.Now, err)
	}
}
