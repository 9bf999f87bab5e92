// Package tlogtest is a real log in memory for tests: it signs checkpoints,
// has any number of witnesses with their own keys, and proves inclusion and
// consistency for every size it ever had.
//
// The party is the writer of a test. Keys come from the log's name, so that the
// same calls give the same bytes; they protect nothing. A Log can also lie on
// request (see Fork), which the real writer cannot.
package tlogtest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
	xtlog "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/tlog"
)

// Log is a log with its witnesses.
type Log struct {
	origin string
	names  []string // key names of the witnesses: "w1.ORIGIN", "w2.ORIGIN", …
	quorum int
	hashes []xtlog.Hash // stored hashes in the order of xtlog.StoredHashes
	size   int64
}

// New makes an empty log of which quorum out of that many witnesses must cosign.
func New(origin string, witnesses, quorum int) *Log {
	l := &Log{origin: origin, quorum: quorum}
	for i := range witnesses {
		l.names = append(l.names, fmt.Sprintf("w%d.%s", i+1, origin))
	}
	return l
}

// Fork returns a log with the same keys and entries, free to grow differently.
func (l *Log) Fork() *Log {
	f := *l
	f.hashes = append([]xtlog.Hash{}, l.hashes...)
	return &f
}

// Origin is the log's name.
func (l *Log) Origin() string { return l.origin }

// Witnesses are the key names of the witnesses.
func (l *Log) Witnesses() []string { return append([]string{}, l.names...) }

// Key is the private key of the log (name l.Origin()) or of a witness.
func (l *Log) Key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("tlogtest " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Signer is the log's note signer, for a real writer under the same policy.
func (l *Log) Signer() note.Signer {
	key := append([]byte{AlgLog}, l.Key(l.origin).Seed()...)
	s, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", l.origin, keyID(l.origin, AlgLog, l.Key(l.origin)), base64.StdEncoding.EncodeToString(key)))
	if err != nil {
		panic(err)
	}
	return s
}

// Algorithms of verifier keys (c2sp.org/signed-note).
const (
	AlgLog     = 1 // Ed25519
	AlgWitness = 4 // Ed25519 timestamped cosignature
)

// VKey is the verifier key of the log or of a witness.
func (l *Log) VKey(name string) string {
	if name == l.origin {
		return VKey(name, AlgLog, l.Key(name))
	}
	return VKey(name, AlgWitness, l.Key(name))
}

// VKey writes the verifier key of any private key under any name.
func VKey(name string, alg byte, private ed25519.PrivateKey) string {
	key := append([]byte{alg}, private.Public().(ed25519.PublicKey)...)
	return fmt.Sprintf("%s+%08x+%s", name, keyID(name, alg, private), base64.StdEncoding.EncodeToString(key))
}

// keyID is that of c2sp.org/signed-note.
func keyID(name string, alg byte, private ed25519.PrivateKey) uint32 {
	key := append([]byte{alg}, private.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	return binary.BigEndian.Uint32(sum[:])
}

// Policy is the witness policy's text. urls are the witnesses' addresses in
// order; a witness without one gets an address that answers nothing.
func (l *Log) Policy(urls ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "log %s\n", l.VKey(l.origin))
	group := ""
	for i, name := range l.names {
		url := "http://" + name + ".invalid"
		if i < len(urls) {
			url = urls[i]
		}
		fmt.Fprintf(&b, "witness w%d %s %s\n", i+1, l.VKey(name), url)
		group += fmt.Sprintf(" w%d", i+1)
	}
	fmt.Fprintf(&b, "group all-of-them %d%s\nquorum all-of-them\n", l.quorum, group)
	return b.String()
}

// Append adds an entry and returns its index.
func (l *Log) Append(e tlog.Entry) int64 {
	hashes, err := xtlog.StoredHashes(l.size, e.Bytes(), l)
	if err != nil {
		panic(err)
	}
	l.hashes = append(l.hashes, hashes...)
	l.size++
	return l.size - 1
}

// Size is the number of entries.
func (l *Log) Size() int64 { return l.size }

// ReadHashes implements xtlog.HashReader.
func (l *Log) ReadHashes(indexes []int64) ([]xtlog.Hash, error) {
	out := make([]xtlog.Hash, len(indexes))
	for i, n := range indexes {
		out[i] = l.hashes[n]
	}
	return out, nil
}

// Checkpoint names the log's state when it had size entries.
func (l *Log) Checkpoint(size int64) tlog.Checkpoint {
	root, err := xtlog.TreeHash(size, l)
	if err != nil {
		panic(err)
	}
	return tlog.Checkpoint{Origin: l.origin, Size: size, Hash: canon.Digest(hex.EncodeToString(root[:]))}
}

// Text is a checkpoint's text, which log and witnesses sign.
func Text(c tlog.Checkpoint) string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Hash.Bytes()))
}

// Signed is the signed checkpoint of that size, cosigned by the witnesses in
// order, each at its time; a negative time is a witness that did not cosign.
func (l *Log) Signed(size int64, times ...int64) []byte {
	text := Text(l.Checkpoint(size))
	signed := text + "\n" + l.LogLine(text)
	for i, t := range times {
		if t >= 0 {
			signed += l.Line(l.names[i], text, t)
		}
	}
	return []byte(signed)
}

// LogLine is the log's signature line under a text.
func (l *Log) LogLine(text string) string {
	return line(l.origin, keyID(l.origin, AlgLog, l.Key(l.origin)), ed25519.Sign(l.Key(l.origin), []byte(text)))
}

// Line is a witness's cosignature line under a checkpoint's text.
func (l *Log) Line(witness, text string, at int64) string {
	sig := ed25519.Sign(l.Key(witness), fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))
	return line(witness, keyID(witness, AlgWitness, l.Key(witness)), append(binary.BigEndian.AppendUint64(nil, uint64(at)), sig...))
}

func line(name string, hash uint32, sig []byte) string {
	return "\u2014 " + name + " " + base64.StdEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, hash), sig...)) + "\n"
}

// Path is the audit path of the entry at index in the tree of that size.
func (l *Log) Path(index, size int64) []canon.Digest {
	path, err := xtlog.ProveRecord(size, index, l)
	if err != nil {
		panic(err)
	}
	return digests(path)
}

// Proof proves the entry at index in the checkpoint of that size, cosigned as
// in Signed.
func (l *Log) Proof(index, size int64, times ...int64) tlog.Proof {
	return tlog.NewProof(index, l.Path(index, size), l.Signed(size, times...))
}

// Consistency proves that the log of size newer continues that of size older.
func (l *Log) Consistency(older, newer int64) []canon.Digest {
	if older == 0 || older == newer {
		return []canon.Digest{}
	}
	proof, err := xtlog.ProveTree(newer, older, l)
	if err != nil {
		panic(err)
	}
	return digests(proof)
}

func digests(hashes []xtlog.Hash) []canon.Digest {
	out := make([]canon.Digest, len(hashes))
	for i, h := range hashes {
		out[i] = canon.Digest(hex.EncodeToString(h[:]))
	}
	return out
}
