// Package provenance is the chain from a vendor's signature to the bytes of one
// artefact: InRelease, Packages, .deb.
//
// The parties: a vendor signs releases with the keys of its keyring; mirrors,
// the control plane and the pool carry the bytes and are trusted with nothing;
// the trust root says which keyring belongs to which origin and how many of its
// keys must have signed; hosts and auditors check here, offline. The objects:
// a Release that enough distinct keys signed, an Index whose bytes the Release
// names, an Entry of that Index, and the artefact's bytes.
//
// The promise: ReadRelease is the only way to a Release, Release.ReadPackages
// the only way to an Index, and both together the only way to an Entry whose
// Check can succeed; the zero values refuse everything. Nothing is parsed
// before its bytes are authenticated. Dates never go back, and never lie more
// than a day ahead. The same bytes, origin, keyring, floor and time give the
// same answer.
//
// It fetches nothing, remembers nothing (the caller keeps the newest Date), and
// does not say what is inside an artefact or whether a change is permitted.
package provenance

import (
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// Limits of everything that is read.
const (
	MaxRelease  = 8 << 20        // bytes of an InRelease; the largest of Debian 12 has 151 KB, Ubuntu's about 300 KB
	MaxKeyring  = 4 << 20        // bytes of a keyring; Debian's has 56 KB
	MaxSigs     = 64             // signature packets in one release; Debian's carry two or three
	MaxFiles    = 50_000         // files one release names; Debian 12 names 700, Ubuntu about 4,000
	MaxFileSize = 64 << 30       // bytes a release may claim for one file
	MaxPackages = 256 << 20      // compressed bytes of one Packages file; the largest of Debian 12 has 50 MB uncompressed
	MaxUnpacked = 512 << 20      // bytes it unpacks to
	MaxStanza   = 4 << 20        // bytes of one stanza; the largest of Debian 12 has about 100 KB
	MaxEntries  = 250_000        // stanzas in one Packages file; Debian 12 main has 63,440
	MaxAhead    = 24 * time.Hour // how far a release's date may lie beyond now: clocks and time zones of vendors
)

// The refusals of this room; the catalogue says what each means.
const (
	codeLimit       refusal.Code = "PW-PROV-LIMIT"           // larger than anything genuine
	codeForm        refusal.Code = "PW-PROV-FORM"            // not exactly one clear-signed block
	codeKeyring     refusal.Code = "PW-PROV-KEYRING"         // the pinned keyring gives no keys
	codeSigners     refusal.Code = "PW-PROV-SIGNERS"         // too few distinct keys signed
	codeSigBad      refusal.Code = "PW-PROV-SIG-BAD"         // does not fit the bytes
	codeSigUnknown  refusal.Code = "PW-PROV-SIG-UNKNOWN-KEY" // by a key outside the origin's keyring
	codeSigTime     refusal.Code = "PW-PROV-SIG-TIME"        // the signature has expired or is from the future
	codeSigExpired  refusal.Code = "PW-PROV-SIG-EXPIRED-KEY" // by an expired key
	codeSigRevoked  refusal.Code = "PW-PROV-SIG-REVOKED-KEY" // by a revoked key
	codeSigHash     refusal.Code = "PW-PROV-SIG-WEAK-HASH"   // SHA-1, MD5, RIPEMD-160, SHA-224
	codeSigKey      refusal.Code = "PW-PROV-SIG-WEAK-KEY"    // RSA below 2048 bits, DSA, unusual curves
	codeSigVersion  refusal.Code = "PW-PROV-SIG-UNSUPPORTED" // a kind of signature that is not accepted
	codeField       refusal.Code = "PW-PROV-FIELD"           // not one strict paragraph
	codeOrigin      refusal.Code = "PW-PROV-ORIGIN"          // field Origin
	codeLabel       refusal.Code = "PW-PROV-LABEL"           // field Label
	codeCodename    refusal.Code = "PW-PROV-CODENAME"        // field Codename
	codeSuite       refusal.Code = "PW-PROV-SUITE"           // field Suite
	codeDate        refusal.Code = "PW-PROV-DATE"            // Date or Valid-Until cannot be read
	codeBack        refusal.Code = "PW-PROV-BACK"            // older than one seen before
	codeAhead       refusal.Code = "PW-PROV-AHEAD"           // dated beyond now
	codeExpired     refusal.Code = "PW-PROV-EXPIRED"         // Valid-Until has passed
	codeFiles       refusal.Code = "PW-PROV-FILES"           // field SHA256 cannot be read
	codeZero        refusal.Code = "PW-PROV-UNVERIFIED"      // a zero value was asked
	codePath        refusal.Code = "PW-PROV-PATH"            // not the path of a Packages file
	codeSection     refusal.Code = "PW-PROV-SECTION"         // a component the trust root does not allow
	codeUnlisted    refusal.Code = "PW-PROV-UNLISTED"        // the release does not name the file
	codeRead        refusal.Code = "PW-PROV-READ"            // the bytes could not be read
	codeSize        refusal.Code = "PW-PROV-PACKAGES-SIZE"   // other size than the release says
	codeDigest      refusal.Code = "PW-PROV-PACKAGES-DIGEST" // other digest than the release says
	codeUnpack      refusal.Code = "PW-PROV-UNPACK"          // broken compression
	codeStanza      refusal.Code = "PW-PROV-STANZA"          // a stanza cannot be read
	codeEquivocal   refusal.Code = "PW-PROV-EQUIVOCATION"    // one name and version, two artefacts
	codeNoEntry     refusal.Code = "PW-PROV-NO-ENTRY"        // the index does not hold it
	codeArtefact    refusal.Code = "PW-PROV-ARTEFACT-DIGEST" // the artefact's bytes are others
	codeArtefactLen refusal.Code = "PW-PROV-ARTEFACT-SIZE"   // the artefact's length is another
)

// Release is a release that enough of an origin's keys signed. Only ReadRelease
// fills it.
type Release struct {
	r *release
}

type release struct {
	origin  trust.Origin
	digest  canon.Digest
	date    int64
	until   int64
	signers []Signer
	refused []error
	files   map[string]File // the Packages files of allowed components, by path
}

// Signer is one key of the keyring that validly signed.
type Signer struct {
	Key  string // fingerprint of the primary key, lower hex
	Made int64  // when the signature says it was made, Unix seconds
}

// File is a file that a release names.
type File struct {
	Path   string       // relative to the release, such as "main/binary-amd64/Packages.xz"
	Size   int64        // bytes
	Digest canon.Digest // SHA-256
}

// ReadRelease verifies the bytes of an InRelease file against what the trust
// root says about origin o, at the trusted time now. keyring is the origin's
// binary OpenPGP keyring; floor is the newest Date this host has seen for the
// origin (Unix seconds; 0 for none). The caller must store Release.Date before
// it acts on the release. Every error is a refusal.
func ReadRelease(inRelease []byte, o trust.Origin, keyring []byte, floor int64, now time.Time) (Release, error) {
	text, signed, sigs, err := open(inRelease)
	if err != nil {
		return Release{}, err
	}
	signers, refused, err := verify(signed, sigs, keyring, o.Signers, now)
	if err != nil {
		return Release{}, err
	}
	fields, err := paragraph(text)
	if err != nil {
		return Release{}, err
	}
	if err := fields.says(o); err != nil {
		return Release{}, err
	}
	r := &release{origin: o, digest: canon.SumFile(inRelease), signers: signers, refused: refused}
	if r.date, r.until, err = fields.dates(floor, now); err != nil {
		return Release{}, err
	}
	if r.files, err = fields.files(o.Sections); err != nil {
		return Release{}, err
	}
	return Release{r}, nil
}

// Origin names the origin whose keys signed, or "" in the zero Release.
func (r Release) Origin() change.Origin {
	if r.r == nil {
		return ""
	}
	return r.r.origin.ID
}

// Digest is the SHA-256 of the InRelease bytes.
func (r Release) Digest() canon.Digest {
	if r.r == nil {
		return ""
	}
	return r.r.digest
}

// Date is the release's Date in Unix seconds: the floor of the next one.
func (r Release) Date() int64 {
	if r.r == nil {
		return 0
	}
	return r.r.date
}

// ValidUntil is the release's Valid-Until in Unix seconds, or 0 when the vendor
// gives none (Debian gives none for its main archive).
func (r Release) ValidUntil() int64 {
	if r.r == nil {
		return 0
	}
	return r.r.until
}

// Signers lists the distinct keys that validly signed, by ascending fingerprint.
func (r Release) Signers() []Signer {
	if r.r == nil {
		return []Signer{}
	}
	return append([]Signer{}, r.r.signers...)
}

// Refused gives a reason for every signature that was not counted, in the order
// of the file.
func (r Release) Refused() []error {
	if r.r == nil {
		return []error{}
	}
	return append([]error{}, r.r.refused...)
}

// Packages lists the Packages files of allowed components that the release
// names, by ascending path, in every compression. Gzip opens fastest by far.
func (r Release) Packages() []File {
	if r.r == nil {
		return []File{}
	}
	return sortedFiles(r.r.files)
}
