package tlog

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/refusal"
)

// Why a policy is refused.
const (
	CodePolicy      refusal.Code = "PW-LOG-POLICY"       // cannot be read, or could be read in two ways
	CodePolicyLog   refusal.Code = "PW-LOG-POLICY-LOG"   // not exactly one log
	CodePolicyKey   refusal.Code = "PW-LOG-POLICY-KEY"   // a key that is malformed or stands twice
	CodePolicyOpen  refusal.Code = "PW-LOG-POLICY-OPEN"  // quorum none
	CodePolicyCount refusal.Code = "PW-LOG-POLICY-COUNT" // a witness or group that does not count exactly once
)

// MaxPolicy limits a policy's text, in bytes; c2sp.org/tlog-policy recommends
// to support 32 witnesses in 32 groups, which take 8 KB.
const MaxPolicy = 32 << 10

// Witness is one witness of the policy.
type Witness struct {
	Name string // its key's name, which stands in cosignatures and leases
	VKey string // c2sp.org/signed-note verifier key of an Ed25519 cosigner
	URL  string // submission prefix, without a slash at the end
}

// Policy says whose signatures make a checkpoint count: one log's, and those
// of a quorum of witnesses. Fill it with ParsePolicy; the zero Policy refuses.
type Policy struct {
	origin    string
	rule      torchwood.Policy
	witnesses []Witness
	keys      map[string]key // by key name, the log's among them
}

type key struct {
	public ed25519.PublicKey
	hash   uint32 // key ID of c2sp.org/signed-note
}

// A line's words, parted by single spaces, and a verifier key's parts. N is
// printable ASCII without #, which others take for a comment.
var (
	lineForm = regexp.MustCompile(strings.NewReplacer("N", `[!-"$-~]+`, "U", `https?://[!-"$-~]+`).Replace(
		"^(log N( U)?|witness N N U|group N (any|all|[1-9][0-9]?)( N)+|quorum N)$"))
	keyForm = regexp.MustCompile(`^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$`) // 33 bytes: algorithm and key
)

// ParsePolicy reads a witness policy (c2sp.org/tlog-policy): "log VKEY",
// "witness NAME VKEY URL", "group NAME any|all|N NAME…", "quorum NAME". It is
// stricter than the format, so that no two readers can take it differently and
// nobody counts twice: printable ASCII; exactly one log; every key once; every
// witness and group counted exactly once by the quorum; a URL for each witness.
func ParsePolicy(text string) (Policy, error) {
	p, logs, counts := Policy{keys: map[string]key{}}, 0, map[string]int{}
	if len(text) > MaxPolicy || strings.ContainsFunc(text, func(r rune) bool { return (r < ' ' || r > '~') && r != '\n' && r != '\t' }) {
		return Policy{}, refusal.New(CodePolicy, "longer than %d bytes, or not printable ASCII", MaxPolicy)
	}
	for line := range strings.Lines(text) {
		f, err := strings.Fields(line), error(nil)
		switch {
		case len(f) == 0 || f[0][0] == '#':
		case !lineForm.MatchString(strings.Join(f, " ")):
			err = refusal.New(CodePolicy, "line %q", strings.TrimSpace(line))
		case f[0] == "log":
			logs++
			p.origin, err = p.addKey(f[1])
		case f[0] == "witness":
			w := Witness{VKey: f[2], URL: strings.TrimRight(f[3], "/")}
			w.Name, err = p.addKey(f[2])
			p.witnesses = append(p.witnesses, w)
			counts[f[1]] += 0
		case f[0] == "group":
			counts[f[1]] += 0
			for _, member := range f[3:] {
				counts[member]++
			}
		case f[1] == "none":
			err = refusal.New(CodePolicyOpen, "the log alone would say what is true")
		default: // quorum
			counts[f[1]]++
		}
		if err != nil {
			return Policy{}, err
		}
	}
	rule, err := torchwood.ParsePolicy([]byte(text))
	if err != nil {
		return Policy{}, refusal.New(CodePolicy, "%v", err)
	}
	if logs != 1 {
		return Policy{}, refusal.New(CodePolicyLog, "%d logs", logs)
	}
	for name, n := range counts {
		if n != 1 {
			return Policy{}, refusal.New(CodePolicyCount, "%s counts %d times", name, n)
		}
	}
	p.rule = rule
	return p, nil
}

// addKey takes a verifier key in its only spelling and returns its name. Its
// hash and algorithm are checked by torchwood.
func (p *Policy) addKey(vkey string) (string, error) {
	m := keyForm.FindStringSubmatch(vkey)
	if m == nil {
		return "", refusal.New(CodePolicyKey, "%q", vkey)
	}
	hash, _ := strconv.ParseUint(m[2], 16, 32) // the form allows nothing else
	raw, _ := base64.StdEncoding.DecodeString(m[3])
	for name, k := range p.keys {
		if name == m[1] || bytes.Equal(k.public, raw[1:]) {
			return "", refusal.New(CodePolicyKey, "%s and %s share a name or a key", name, m[1])
		}
	}
	p.keys[m[1]] = key{raw[1:], uint32(hash)}
	return m[1], nil
}

// Origin is the log's name, the first line of its checkpoints.
func (p Policy) Origin() string { return p.origin }

// Witnesses lists the witnesses in the policy's order.
func (p Policy) Witnesses() []Witness { return append([]Witness{}, p.witnesses...) }

// Key is the Ed25519 key of the witness with that key name; it signs
// cosignatures and leases.
func (p Policy) Key(witness string) (ed25519.PublicKey, bool) {
	k, ok := p.keys[witness]
	return k.public, ok && witness != p.origin
}

// QuorumTime returns the largest T such that the witnesses with time >= T
// satisfy the quorum, and whether there is one. Names the policy does not know
// count for nothing, so no single witness can move T forward.
func (p Policy) QuorumTime(times map[string]int64) (best int64, found bool) {
	for _, floor := range times {
		sigs := []note.Signature{{Name: p.origin, Hash: p.keys[p.origin].hash}}
		for name, t := range times {
			if t >= floor {
				sigs = append(sigs, note.Signature{Name: name, Hash: p.keys[name].hash})
			}
		}
		if p.rule != nil && p.rule.Check(p.origin, sigs) == nil && (!found || floor > best) {
			best, found = floor, true
		}
	}
	return best, found
}
