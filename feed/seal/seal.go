// Package seal checks OpenSSH signatures over feeds and over bundles of them.
//
// The parties: a person who signs with an SSH key (ssh-keygen -Y sign, or
// patchwrit feed bundle), and who reads what was signed. The objects are the
// Signers, whose keys count for what (ssh-keygen's allowed signers file, or one
// public key), and the SSHSIG blob (openssh/PROTOCOL.sshsig).
//
// The promise: Verify says yes only to a signature over exactly the bytes read,
// in exactly the namespace, by a key that is listed for it at that time. Keys are
// Ed25519 and P-256, plain or in a security key that was touched; RSA and
// certificates are not taken.
//
// It parses nothing of what was signed, and does not say what a signer knows.
package seal

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/refusal"
)

// What is signed under which SSHSIG namespace.
const (
	FeedNamespace   = "patchwrit-feed@v1"        // the bytes of one feed's file
	BundleNamespace = "patchwrit-feed-bundle@v1" // the manifest of a bundle
)

// CodeSignature says that nobody who counts has signed these bytes.
const CodeSignature refusal.Code = "PW-FEED-SIGNATURE"

// MaxBlob is the largest SSHSIG blob; one has about 300 bytes.
const MaxBlob = 16 << 10

const magic = "SSHSIG"

// algorithms are the types of keys that count.
var algorithms = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256}

// signer is one line of an allowed signers file.
type signer struct {
	name          string
	key           ssh.PublicKey
	namespaces    []string // patterns; none: every one
	after, before int64    // Unix seconds; 0: no bound
}

// Signers are keys with what they count for.
type Signers []signer

// Who has signed.
type Who struct {
	Name string // the principals of the line, or the key's comment
	Key  string // SHA256:…, as ssh-keygen -l says it
}

func (w Who) String() string { return strings.TrimSpace(w.Name + " " + w.Key) }

// ReadSigners reads an allowed signers file (ssh-keygen(1), ALLOWED SIGNERS), or
// lines with nothing but a public key. Times without Z are taken as UTC. One line
// that cannot be read makes the file unusable.
func ReadSigners(text []byte) (Signers, error) {
	var out Signers
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, err := readLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d is no signer (%w); it reads: NAME [OPTIONS] KEYTYPE KEY", n, err)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, errors.New("it lists no key")
	}
	return out, nil
}

func readLine(line string) (signer, error) {
	s := signer{}
	key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	bare := err == nil && len(options) == 0 && strings.HasPrefix(line, key.Type()+" ")
	if bare {
		s.name = comment
	} else {
		name, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		s.name = strings.Trim(name, `"`)
		if key, _, options, _, err = ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(rest))); err != nil {
			return s, err
		}
	}
	if s.key = key; !slices.Contains(algorithms, key.Type()) {
		return s, fmt.Errorf("keys of type %s do not count; those that do: %s", key.Type(), strings.Join(algorithms, ", "))
	}
	for _, o := range options {
		if err := s.option(o); err != nil {
			return s, err
		}
	}
	return s, nil
}

// option reads one option. One that is not known could narrow the key, so it is
// an error.
func (s *signer) option(said string) (err error) {
	name, value, _ := strings.Cut(said, "=")
	value = strings.Trim(value, `"`)
	switch strings.ToLower(name) {
	case "namespaces":
		s.namespaces = strings.Split(value, ",")
		for _, p := range s.namespaces {
			if _, bad := path.Match(p, ""); bad != nil {
				return fmt.Errorf("namespaces %q: %w", value, bad)
			}
		}
	case "valid-after":
		s.after, err = stamp(value)
	case "valid-before":
		s.before, err = stamp(value)
	default:
		return fmt.Errorf("option %q is not understood here", name)
	}
	return err
}

// stamp reads YYYYMMDD or YYYYMMDDHHMM[SS], with or without Z.
func stamp(text string) (int64, error) {
	text = strings.TrimSuffix(text, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(text) == len(layout) {
			t, err := time.Parse(layout, text)
			return t.Unix(), err
		}
	}
	return 0, fmt.Errorf("%q is no time of the form YYYYMMDD[HHMM[SS]]", text)
}

// envelope is an SSHSIG blob behind its magic.
type envelope struct {
	Version   uint32
	Public    []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// Verify checks that blob signs the bytes of in under the namespace, by one of
// the signers at the time now (Unix seconds). The error is a refusal, or of in.
func (s Signers) Verify(in io.Reader, namespace string, blob []byte, now int64) (Who, error) {
	rest, ok := bytes.CutPrefix(blob, []byte(magic))
	var e envelope
	if !ok || len(blob) > MaxBlob || ssh.Unmarshal(rest, &e) != nil || e.Version != 1 || e.Reserved != "" {
		return Who{}, refusal.New(CodeSignature, "the signature is not in SSHSIG's form (%d bytes)", len(blob))
	}
	if e.Namespace != namespace {
		return Who{}, refusal.New(CodeSignature, "it was signed as %q, wanted is %q", e.Namespace, namespace)
	}
	key, err := s.find(e.Public, namespace, now)
	if err != nil {
		return Who{}, err
	}
	var sum hash.Hash
	switch e.Hash {
	case "sha512":
		sum = sha512.New()
	case "sha256":
		sum = sha256.New()
	default:
		return Who{}, refusal.New(CodeSignature, "its hash %q is not one that is taken", e.Hash)
	}
	if _, err := io.Copy(sum, in); err != nil {
		return Who{}, err
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(e.Signature, &sig); err != nil {
		return Who{}, refusal.New(CodeSignature, "the signature is not in SSHSIG's form (%v)", err)
	}
	const touched = 1 // the flag of a person's presence, openssh/PROTOCOL.u2f
	if secure := strings.HasPrefix(key.key.Type(), "sk-"); secure && (len(sig.Rest) != 5 || sig.Rest[0]&touched == 0) || !secure && len(sig.Rest) > 0 {
		return Who{}, refusal.New(CodeSignature, "the security key was not touched, or something stands behind the signature")
	}
	signed := append([]byte(magic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Sum                       []byte
	}{namespace, "", e.Hash, sum.Sum(nil)})...)
	if err := key.key.Verify(signed, &sig); err != nil {
		return Who{}, refusal.New(CodeSignature, "the signature of %s is not over these bytes", ssh.FingerprintSHA256(key.key))
	}
	return Who{key.name, ssh.FingerprintSHA256(key.key)}, nil
}

// Dearmour reads a signature file as ssh-keygen -Y sign writes it.
func Dearmour(text []byte) ([]byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "SSH SIGNATURE" || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, refusal.New(CodeSignature, "it is no signature file as ssh-keygen -Y sign writes it (%d bytes)", len(text))
	}
	return block.Bytes, nil
}

// find looks for a line that lets the key count.
func (s Signers) find(public []byte, namespace string, now int64) (signer, error) {
	why := "is not listed"
	for _, one := range s {
		if !bytes.Equal(one.key.Marshal(), public) {
			continue
		}
		switch {
		case len(one.namespaces) > 0 && !slices.ContainsFunc(one.namespaces, func(p string) bool { ok, _ := path.Match(p, namespace); return ok }):
			why = "is not listed for " + namespace
		case one.after > 0 && now < one.after:
			why = "does not count yet"
		case one.before > 0 && now >= one.before:
			why = "counts no longer"
		default:
			return one, nil
		}
	}
	name := "a key that cannot be read"
	if key, err := ssh.ParsePublicKey(public); err == nil {
		name = ssh.FingerprintSHA256(key)
	}
	return signer{}, refusal.New(CodeSignature, "%s %s", name, why)
}
