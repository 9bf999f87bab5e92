package tlog

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/refusal"
)

// Why a policy is refused.
const (
	CodePolicy     refusal.Code = "PW-LOG-POLICY"      // cannot be read in one way only
	CodePolicyLog  refusal.Code = "PW-LOG-POLICY-LOG"  // not exactly one log
	CodePolicyKey  refusal.Code = "PW-LOG-POLICY-KEY"  // a key that is malformed or stands twice
	CodePolicyOpen refusal.Code = "PW-LOG-POLICY-OPEN" // no quorum, or quorum none
	CodePolicyIdle refusal.Code = "PW-LOG-POLICY-IDLE" // a witness or group that the quorum does not count
)

// Limits of a policy. c2sp.org/tlog-policy recommends to support 32 witnesses
// and 32 groups; twice that fits into MaxPolicy.
const (
	MaxPolicy    = 32 << 10 // bytes of text
	MaxWitnesses = 64       // a checkpoint's cosignatures are all verified
)

// Witness is one witness of the policy.
type Witness struct {
	Name string // its key's name, which stands in cosignatures and leases
	VKey string // c2sp.org/signed-note verifier key, algorithm 4 (Ed25519 cosignature)
	URL  string // submission prefix, without a slash at the end
}

// Policy says whose signatures make a checkpoint count: one log's, and those
// of a quorum of witnesses. Fill it with ParsePolicy; the zero Policy refuses.
type Policy struct {
	origin    string
	log       note.Verifier
	rule      torchwood.Policy
	witnesses []Witness
	keys      map[string]ed25519.PublicKey
	hashes    map[string]uint32
}

// name is what a witness, group or key may be called.
var (
	name      = regexp.MustCompile(`^[!-*,-~]{1,128}$`)
	threshold = regexp.MustCompile(`^(any|all|[1-9][0-9]?)$`)
	keywords  = map[string]bool{"log": true, "witness": true, "group": true, "quorum": true, "any": true, "all": true, "none": true}
)

// ParsePolicy reads a witness policy (c2sp.org/tlog-policy): "log VKEY",
// "witness NAME VKEY URL", "group NAME any|all|N NAME…", "quorum NAME". It is
// stricter than the format, so that no two readers can take it differently and
// nobody counts twice: printable ASCII; exactly one log; every key once; every
// witness and group counted exactly once by the quorum; a URL for each witness.
func ParsePolicy(text string) (Policy, error) {
	if len(text) > MaxPolicy {
		return Policy{}, refusal.New(CodePolicy, "%d bytes, limit %d", len(text), MaxPolicy)
	}
	r := reader{Policy: Policy{keys: map[string]ed25519.PublicKey{}, hashes: map[string]uint32{}}, counted: map[string]int{}}
	for i := range len(text) {
		if c := text[i]; (c < ' ' || c > '~') && c != '\n' && c != '\t' {
			return Policy{}, refusal.New(CodePolicy, "byte %d is neither printable ASCII, tab nor newline", i)
		}
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if err := r.line(f, strings.Contains(line, "#")); err != nil {
			return Policy{}, err
		}
	}
	return r.finish(text)
}

// reader is a policy while it is read.
type reader struct {
	Policy
	counted map[string]int // how often a defined name counts in a group or as the quorum
	quorum  string
}

func (r *reader) line(f []string, hash bool) error {
	switch {
	case hash:
		return refusal.New(CodePolicy, "# inside a line: a comment has a line of its own")
	case f[0] == "log" && (len(f) == 2 || len(f) == 3):
		return r.addLog(f[1])
	case f[0] == "witness" && len(f) == 4:
		return r.addWitness(f[1], f[2], f[3])
	case f[0] == "group" && len(f) >= 4 && threshold.MatchString(f[2]):
		if err := r.count(f[3:]); err != nil {
			return err
		}
		return r.define(f[1])
	case f[0] == "quorum" && len(f) == 2 && f[1] == "none":
		return refusal.New(CodePolicyOpen, "quorum none lets the log alone say what is true")
	case f[0] == "quorum" && len(f) == 2 && r.quorum == "":
		r.quorum = f[1]
		return r.count(f[1:])
	}
	return refusal.New(CodePolicy, "line %q", strings.Join(f, " "))
}

func (r *reader) define(n string) error {
	if _, twice := r.counted[n]; twice || keywords[n] || !name.MatchString(n) {
		return refusal.New(CodePolicy, "the name %q is a keyword, malformed or defined twice", n)
	}
	r.counted[n] = 0
	return nil
}

func (r *reader) count(names []string) error {
	for _, n := range names {
		if c, ok := r.counted[n]; !ok || c > 0 {
			return refusal.New(CodePolicy, "%q is not defined above, or counts twice", n)
		}
		r.counted[n]++
	}
	return nil
}

func (r *reader) addLog(vkey string) error {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return refusal.New(CodePolicyKey, "log key %q: %v", vkey, err)
	}
	again, err := note.NewEd25519VerifierKey(v.Name(), rawKey(vkey))
	if err != nil || again != vkey {
		return refusal.New(CodePolicyKey, "log key %q is not in its only spelling", vkey)
	}
	if r.log != nil {
		return refusal.New(CodePolicyLog, "%s and %s", r.origin, v.Name())
	}
	r.log, r.origin = v, v.Name()
	return r.addKey(v.Name(), vkey)
}

func (r *reader) addWitness(n, vkey, place string) error {
	v, err := torchwood.NewCosignatureVerifier(vkey)
	if err != nil || v.String() != vkey {
		return refusal.New(CodePolicyKey, "witness key %q: %v", vkey, err)
	}
	u, err := url.Parse(place)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return refusal.New(CodePolicy, "witness %s: %q is not an http or https address", n, place)
	}
	if len(r.witnesses) == MaxWitnesses {
		return refusal.New(CodePolicy, "more than %d witnesses", MaxWitnesses)
	}
	r.witnesses = append(r.witnesses, Witness{v.Name(), vkey, strings.TrimRight(place, "/")})
	r.hashes[v.Name()] = v.KeyHash()
	if err := r.addKey(v.Name(), vkey); err != nil {
		return err
	}
	return r.define(n)
}

// addKey refuses a key that stands under two names, and a name with two keys.
func (r *reader) addKey(n, vkey string) error {
	key := rawKey(vkey)
	if _, twice := r.keys[n]; twice || !name.MatchString(n) {
		return refusal.New(CodePolicyKey, "key name %q is malformed or stands twice", n)
	}
	for other, k := range r.keys {
		if bytes.Equal(k, key) {
			return refusal.New(CodePolicyKey, "%s and %s are the same key", other, n)
		}
	}
	r.keys[n] = key
	return nil
}

// rawKey gives the key bytes of a verifier key that has been parsed before.
func rawKey(vkey string) ed25519.PublicKey {
	b, err := base64.StdEncoding.DecodeString(vkey[strings.LastIndexByte(vkey, '+')+1:])
	if err != nil || len(b) != 1+ed25519.PublicKeySize {
		return nil
	}
	return b[1:]
}

func (r *reader) finish(text string) (Policy, error) {
	if r.log == nil {
		return Policy{}, refusal.New(CodePolicyLog, "no log")
	}
	if r.quorum == "" {
		return Policy{}, refusal.New(CodePolicyOpen, "no quorum line")
	}
	for n, c := range r.counted {
		if c == 0 {
			return Policy{}, refusal.New(CodePolicyIdle, "%s", n)
		}
	}
	rule, err := torchwood.ParsePolicy([]byte(text))
	if err != nil {
		return Policy{}, refusal.New(CodePolicy, "%v", err)
	}
	delete(r.keys, r.origin)
	r.rule = rule
	return r.Policy, nil
}

// Origin is the log's name, the first line of its checkpoints.
func (p Policy) Origin() string { return p.origin }

// Witnesses lists the witnesses in the policy's order.
func (p Policy) Witnesses() []Witness { return append([]Witness{}, p.witnesses...) }

// Key is the Ed25519 key of the witness with that key name; it signs
// cosignatures and leases.
func (p Policy) Key(witness string) (ed25519.PublicKey, bool) {
	k, ok := p.keys[witness]
	return k, ok
}

// QuorumTime returns the largest T such that the witnesses with time >= T
// satisfy the quorum, and whether there is one. Names the policy does not know
// count for nothing, so no single witness can move T forward.
func (p Policy) QuorumTime(times map[string]int64) (int64, bool) {
	best, found := int64(0), false
	for _, t := range times {
		if (!found || t > best) && p.quorate(times, t) {
			best, found = t, true
		}
	}
	return best, found
}

// quorate judges the witnesses with a time of at least floor, as if the log
// and they had signed.
func (p Policy) quorate(times map[string]int64, floor int64) bool {
	if p.rule == nil {
		return false
	}
	sigs := []note.Signature{{Name: p.origin, Hash: p.log.KeyHash()}}
	for n, t := range times {
		if hash, ok := p.hashes[n]; ok && t >= floor {
			sigs = append(sigs, note.Signature{Name: n, Hash: hash})
		}
	}
	return p.rule.Check(p.origin, sigs) == nil
}
