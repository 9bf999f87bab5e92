package witness

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

const (
	typeKey   = "patchwrit/witnesskey/v1"
	typeSeen  = "patchwrit/witnessseen/v1"
	typeTrust = "patchwrit/witnesstrust/v1"
)

// keyDoc is key.json.
type keyDoc struct {
	Type string `json:"type"`
	Name string `json:"name"` // of the key, as it stands in cosignatures and leases
	Seed string `json:"seed"` // Ed25519 seed, 32 bytes, lower hex: secret
}

// seenDoc is seen.json.
type seenDoc struct {
	Type        string            `json:"type"`
	Checkpoints []tlog.Checkpoint `json:"checkpoints"` // cosigned last, one for each origin
}

// trustDoc is trust.json.
type trustDoc struct {
	Type     string         `json:"type"`
	Root     canon.Digest   `json:"root"` // trust.Root.ID, or "" before the first run
	Versions trust.Versions `json:"versions"`
}

// NewKey makes a witness's state directory with a new key and nothing seen, and
// returns its line for witness.policy. A directory that has a key is refused:
// a witness that forgets must become another witness.
func NewKey(dir, name, url string, random io.Reader) (line string, err error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	c, err := newCosigner(keyDoc{typeKey, name, hex.EncodeToString(seed)})
	if err != nil {
		return "", err
	}
	line = fmt.Sprintf("witness %s %s %s", name, c.vkey, strings.TrimRight(url, "/"))
	if err := fits(line); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(dir, haltDir), 0o700); err != nil {
		return "", fmt.Errorf("witness state: %w", err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o077 != 0 {
		return "", refusal.New(CodeExposed, "%s is there and others can read it: %v", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, keyFile)); err == nil {
		return "", refusal.New(CodeKeyThere, "%s", filepath.Join(dir, keyFile))
	}
	s := store{dir: dir}
	return line, errors.Join(
		s.save(seenFile, seenDoc{typeSeen, []tlog.Checkpoint{}}),
		s.save(trustFile, trustDoc{Type: typeTrust}),
		write(filepath.Join(dir, keyFile), canon.MustEncode(keyDoc{typeKey, name, hex.EncodeToString(seed)}), os.O_CREATE|os.O_EXCL),
		syncDir(dir), syncDir(filepath.Dir(filepath.Clean(dir))),
	)
}

// fits asks the reader of policies whether it would take the line.
func fits(line string) error {
	_, log, err := note.GenerateKey(strings.NewReader(strings.Repeat("any key will do", 5)), "log.invalid")
	if err != nil {
		return err
	}
	_, err = tlog.ParsePolicy("log " + log + "\n" + line + "\nquorum " + strings.Fields(line)[1] + "\n")
	return err
}

// cosigner holds the witness's key. One key signs cosignatures, whose text
// begins with "cosignature/v1", and leases, of which it signs the 32 bytes of
// their digest: neither can pass for the other.
type cosigner struct {
	name    string
	vkey    string
	hash    uint32
	private ed25519.PrivateKey
}

func newCosigner(k keyDoc) (cosigner, error) {
	seed, err := hex.DecodeString(k.Seed)
	if err != nil || k.Type != typeKey || len(seed) != ed25519.SeedSize {
		return cosigner{}, refusal.New(CodeState, "%s is no witness key", keyFile)
	}
	private := ed25519.NewKeyFromSeed(seed)
	s, err := torchwood.NewCosignatureSigner(k.Name, private)
	if err != nil {
		return cosigner{}, fmt.Errorf("key name %q: %w", k.Name, err)
	}
	return cosigner{k.Name, s.Verifier().String(), s.KeyHash(), private}, nil
}

// cosign gives the signature line under a checkpoint's text
// (c2sp.org/tlog-cosignature, Ed25519).
func (c cosigner) cosign(text string, at int64) (string, error) {
	signed, err := note.Sign(&note.Note{Text: text}, timed{c, at})
	if err != nil {
		return "", fmt.Errorf("cosign: %w", err)
	}
	return strings.TrimPrefix(string(signed), text+"\n"), nil
}

// timed is the cosigner at a time that is given, not read.
type timed struct {
	cosigner
	at int64
}

func (t timed) Name() string    { return t.name }
func (t timed) KeyHash() uint32 { return t.hash }

func (t timed) Sign(text []byte) ([]byte, error) {
	sig := ed25519.Sign(t.private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", t.at, text))
	return append(binary.BigEndian.AppendUint64(nil, uint64(t.at)), sig...), nil
}

// lease signs a lease.
func (c cosigner) lease(l writ.Lease) writ.Lease {
	l.Signature = hex.EncodeToString(ed25519.Sign(c.private, l.Digest().Bytes()))
	return l
}
