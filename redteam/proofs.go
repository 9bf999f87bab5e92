package redteam

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/agent"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
)

func newKey() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err) // never: crypto/rand ends the program instead
	}
	return key
}

// logRows attack the log's proofs.
func logRows() []Row {
	return []Row{
		{ID: "inclusion-of-something-else", Where: OnHost, Code: "PW-WRIT-LOG", Says: "PW-LOG-INCLUSION", What: "the proof shows that another entry stands in the log",
			make: func(p *play) (parcel, error) {
				return p.forged(p.web, nil, forgery{entry: func(e *tlog.Entry) { e.Kind = "verdict" }})
			}},
		{ID: "never-logged", Where: OnHost, Code: "PW-WRIT-LOG", Says: "PW-LOG-INCLUSION", What: "the writ was changed after it was logged: one second more of life",
			make: func(p *play) (parcel, error) {
				return p.forged(p.web, nil, forgery{last: func(w *writ.Writ) { w.Body.Expires++ }})
			}},
		{ID: "log-forked-for-one-agent", Where: OnHost, Code: "PW-WRIT-LOG", Says: "PW-LOG-QUORUM", What: "a second history, signed by the log's own key, shown to this host only; no witness has cosigned it",
			make: func(p *play) (parcel, error) { return p.forked(0) }},
		{ID: "inconsistent-checkpoint", Where: OnHost, Code: "PW-WRIT-NOCONSISTENCY", Says: "PW-LOG-CONSISTENCY", What: "the witnesses collude and cosign another history; this host remembers the first one",
			make: func(p *play) (parcel, error) { return p.forked(len(p.Witnesses)) }},
	}
}

// leaseRows attack the witnesses' word that nothing is halted.
func leaseRows() []Row {
	return []Row{
		{ID: "no-lease", Where: OnHost, Code: "PW-AGENT-LEASE", What: "the host is cut off from every witness",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.web)
				q.offline = true
				return q, err
			}},
		{ID: "step-under-a-halt", Where: AtWitness, Code: "PW-AGENT-LEASE", Says: "PW-WITNESS-HALTED", What: "a person has halted the host at the witnesses; the control plane hands the approved writ over all the same", play: underAHalt,
			Control: "once a quorum has lifted the halt, the same writ is applied on the same host"},
		{ID: "too-few-leases", Where: OnHost, Code: "PW-WRIT-LEASE", Says: "no quorum", What: "the lease of one witness only",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.web)
				if err != nil {
					return q, err
				}
				leases, err := p.leases(p.web, "")
				q.leases = leases[:min(1, len(leases))]
				return q, err
			}},
		{ID: "old-lease", Where: OnHost, Code: "PW-WRIT-LEASE", Says: "another nonce", What: "the leases that the host was shown for its last writ",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.web)
				if err != nil {
					return q, err
				}
				q.leases, err = p.shown(p.web)
				return q, err
			}},
		{ID: "lease-for-another-nonce", Where: OnHost, Code: "PW-WRIT-LEASE", Says: "another nonce", What: "fresh leases from every witness, for a nonce of the attacker's",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.web)
				if err != nil {
					return q, err
				}
				q.leases, err = p.leases(p.web, nonce())
				return q, err
			}},
		{ID: "lease-for-another-host", Where: OnHost, Code: "PW-WRIT-LEASE", Says: "lease for host", What: "fresh leases from every witness, for another host with this host's nonce",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.web)
				if err != nil {
					return q, err
				}
				mine, err := p.nonce(p.web)
				if err != nil {
					return q, err
				}
				q.leases, err = p.leases(p.far, mine)
				return q, err
			}},
	}
}

// rootRows attack what everything hangs on.
func rootRows() []Row {
	return []Row{
		{ID: "false-root", Where: OnHost, Code: "PW-TRUST-PIN", What: "a trust repository of the attacker's, whole and well-signed, in place of the house's",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.web)
				if err != nil {
					return q, err
				}
				q.trust, _, err = p.falseHouse()
				return q, err
			}},
		{ID: "false-root-with-its-own-digest", Where: OnHost, Code: "PW-WRIT-ROOT", Says: "enrolled to", What: "the attacker's trust repository and the attacker's digest, on a host that was enrolled before",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.web)
				if err != nil {
					return q, err
				}
				q.trust, q.pinned, err = p.falseHouse()
				return q, err
			}},
	}
}

// owned is the house as the attacker can play it: the log with its key, and the
// first so many witnesses.
func (p *play) owned(colluding int) (trusttest.House, error) {
	key, err := os.ReadFile(filepath.Join(p.stolen(), "log.key"))
	if err != nil {
		return trusttest.House{}, err
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(key)))
	h := trusttest.House{Log: trusttest.Log{Origin: p.policy.Origin(), Signer: signer}}
	if err != nil {
		return h, err
	}
	for _, dir := range p.Witnesses[:colluding] {
		raw, err := os.ReadFile(filepath.Join(dir, "key.json"))
		if err != nil {
			return h, err
		}
		var k struct {
			Type string `json:"type"`
			Name string `json:"name"`
			Seed string `json:"seed"`
		}
		if err := canon.Decode(raw, &k); err != nil {
			return h, err
		}
		seed, err := hex.DecodeString(k.Seed)
		if err != nil {
			return h, err
		}
		w := trusttest.Witness{Name: k.Name, Key: ed25519.NewKeyFromSeed(seed)}
		if w.Signer, err = torchwood.NewCosignatureSigner(k.Name, w.Key); err != nil {
			return h, err
		}
		h.Witnesses = append(h.Witnesses, w)
	}
	return h, nil
}

// forked is the honest writ in a history of its own, longer than the one that
// the host remembers, with the tiles that prove it to be one.
func (p *play) forked(colluding int) (parcel, error) {
	h, err := p.owned(colluding)
	if err != nil {
		return parcel{}, err
	}
	st, err := p.status(p.web)
	if err != nil {
		return parcel{}, err
	}
	dir := filepath.Join(p.Dir, fmt.Sprintf("fork-%d", colluding))
	var inner error
	q, err := p.forged(p.web, nil, forgery{last: func(w *writ.Writ) {
		entries := [][]byte{w.Body.Entry().Bytes()}
		for int64(len(entries)) < st.Checkpoint.Size+1000 { // longer than the true one will be
			entries = append(entries, tlog.NewEntry("plan", canon.SumFile(fmt.Append(nil, len(entries))), now()).Bytes())
		}
		w.Proof, inner = h.Prove(entries, 0, slices.Repeat([]int64{now()}, len(h.Witnesses))...)
		inner = errors.Join(inner, tiles(dir, entries))
	}})
	q.log = dir
	return q, errors.Join(err, inner)
}

// leafHashes is a whole small log, as its stored hashes.
type leafHashes []sumdb.Hash

// ReadHashes implements sumdb.HashReader.
func (h leafHashes) ReadHashes(indexes []int64) ([]sumdb.Hash, error) {
	out := make([]sumdb.Hash, len(indexes))
	for i, n := range indexes {
		out[i] = h[n]
	}
	return out, nil
}

// tiles writes the hash tiles of the log of these entries.
func tiles(dir string, entries [][]byte) error {
	var all leafHashes
	for i, e := range entries {
		more, err := sumdb.StoredHashes(int64(i), e, all)
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	for _, t := range sumdb.NewTiles(torchwood.TileHeight, 0, int64(len(entries))) {
		raw, err := sumdb.ReadTileData(t, all)
		if err != nil {
			return err
		}
		if err := put(filepath.Join(dir, torchwood.TilePath(t)), raw); err != nil {
			return err
		}
	}
	return nil
}

// nonce is the host's outstanding nonce; a host that has none is made to ask.
func (p *play) nonce(t *target) (string, error) {
	st, err := p.status(t)
	if err != nil || st.Nonce != "" {
		return st.Nonce, err
	}
	q, err := p.letter(p.twin, t)
	if err != nil {
		return "", err
	}
	q.leases = [][]byte{[]byte("{}")}
	if a, err := p.hand(q); err != nil || a.code != "PW-WRIT-LEASE" {
		return "", fmt.Errorf("the host does not ask for leases: %s %s %w", a.code, a.detail, err)
	}
	st, err = p.status(t)
	return st.Nonce, err
}

// leases asks every witness for a host, as anybody may.
func (p *play) leases(t *target, nonce string) ([][]byte, error) {
	if nonce == "" {
		var err error
		if nonce, err = p.nonce(t); err != nil {
			return nil, err
		}
	}
	return ask.Leases(p.ctx, p.policy.Witnesses(), t.known.ID, nonce)
}

// shown are the leases of the newest writ that the host has used.
func (p *play) shown(t *target) ([][]byte, error) {
	st, err := p.status(t)
	if err != nil {
		return nil, err
	}
	if len(st.Receipts) == 0 {
		return nil, fmt.Errorf("%s has used no writ", t.Name)
	}
	raw, err := os.ReadFile(filepath.Join(t.State, "writs", string(st.Receipts[len(st.Receipts)-1].Writ)+".leases"))
	if err != nil {
		return nil, err
	}
	return lines(raw), nil
}

// falseHouse is a trust repository of the attacker's own, with the true hosts
// and witnesses in it, so that it lacks nothing but the keepers.
func (p *play) falseHouse() (dir string, pinned canon.Digest, err error) {
	dir, err = os.MkdirTemp(p.Dir, "false-trust-")
	if err != nil {
		return "", "", err
	}
	c := ceremony.ContentsOf(p.root)
	h, err := trusttest.New(nil, trusttest.Options{Now: time.Now(), Edit: func(f *ceremony.Contents) {
		people := f.People
		*f = c
		f.People = people
	}})
	if err != nil {
		return "", "", err
	}
	for name, raw := range h.Bundle() {
		if err := put(filepath.Join(dir, name), raw); err != nil {
			return "", "", err
		}
	}
	return dir, h.Pinned, p.aged(dir, h)
}

// aged brings a trust repository of the attacker's to versions that are not
// older than the house's, so that they are not what it is refused for.
func (p *play) aged(dir string, h trusttest.House) error {
	const most = 1000 // updates of a house
	for i := range most {
		root, err := trust.Load(os.DirFS(dir), h.Pinned, trust.Versions{}, time.Now())
		if err != nil || !p.root.Versions.Newer(root.Versions) {
			return err
		}
		if _, err := ceremony.Update(dir, h.Signing(), func(c *ceremony.Contents) error {
			labels := slices.DeleteFunc(c.Hosts[0].Labels, func(l trust.Label) bool { return l.Key == "update" })
			c.Hosts[0].Labels = append(labels, trust.Label{Key: "update", Value: strconv.Itoa(i)})
			c.Critical.Packages = append(c.Critical.Packages, "false-"+strconv.Itoa(i))
			return nil
		}); err != nil {
			return err
		}
	}
	return fmt.Errorf("after %d updates it is still older than the house", most)
}

// relabelled is the house's repository as the control plane would like it: with
// another label for a host.
func (p *play) relabelled(of *target, label trust.Label) (dir string, err error) {
	dir = filepath.Join(p.Dir, "relabelled")
	if err := os.CopyFS(dir, os.DirFS(p.Trust)); err != nil {
		return "", err
	}
	names, err := filepath.Glob(filepath.Join(dir, "targets", "*.hosts.json"))
	if err != nil {
		return "", err
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		var doc trust.Hosts
		if err := canon.Decode(raw, &doc); err != nil {
			return "", err
		}
		for i, h := range doc.Hosts {
			if h.ID == of.known.ID {
				doc.Hosts[i].Labels = []trust.Label{label}
			}
		}
		if err := errors.Join(os.Chmod(name, 0o644), os.WriteFile(name, canon.MustEncode(doc), 0o644)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// status is what a host's state directory tells.
func (p *play) status(t *target) (agent.Status, error) { return agent.ReadStatus(t.State, 1) }

// lines splits what is written one document a line.
func lines(raw []byte) [][]byte {
	var out [][]byte
	for line := range bytes.Lines(raw) {
		if line = bytes.TrimSuffix(line, []byte("\n")); len(line) > 0 {
			out = append(out, line)
		}
	}
	return out
}
