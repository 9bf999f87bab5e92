// Package parley is what a host's messenger and its helper say to each other
// over one unix socket.
//
// The parties: the messenger, an ordinary user that speaks to the network and
// may be anybody's; the helper, which is root. The objects: frames, each with a
// kind and canonical JSON; one conversation on each connection, about one writ.
//
// The messenger says Offer; the helper may say Progress at any time, and either
// Question, to which the messenger says Answer, or End. There is nothing else
// to say: an Offer names a file by its digest in the one directory that the
// helper looks at, never a path or a command.
//
// The promise: everything is bounded and has exactly one spelling. It carries
// no authority: what the helper does it permits itself by the writ.
package parley

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// CodeForm says that something other than the next thing to say was said.
const CodeForm refusal.Code = "PW-HELPER-FORM"

// Kind is the first byte of a frame.
type Kind byte

// The kinds, with who says them.
const (
	KindOffer    Kind = 'o' // messenger
	KindQuestion Kind = 'q' // helper
	KindAnswer   Kind = 'a' // messenger
	KindProgress Kind = 'p' // helper
	KindEnd      Kind = 'e' // helper
)

// Limits of a frame's content, by who says it.
const (
	MaxSaid = 512 << 10 // by the messenger, who is not trusted
	MaxTold = 32 << 20  // by the helper: receipts
)

// Offer is the one verb: apply this writ.
type Offer struct {
	Type   string         `json:"type"`   // TypeOffer
	Writ   canon.Digest   `json:"writ"`   // SumFile of its bytes, which lie in the messenger's directory
	Stored []canon.Digest `json:"stored"` // receipts that the control plane has acknowledged
}

// TypeOffer is the type of an Offer, and with it the version of the conversation.
const TypeOffer = "patchwrit/offer/v1"

// MaxStored bounds the acknowledgements in one Offer.
const MaxStored = 1000

// Check says why an offer is none, or nil.
func (o Offer) Check() error {
	if o.Type != TypeOffer || !o.Writ.Valid() || len(o.Stored) > MaxStored {
		return refusal.New(CodeForm, "an offer of type %q with %d acknowledgements", o.Type, len(o.Stored))
	}
	for _, d := range o.Stored {
		if !d.Valid() {
			return refusal.New(CodeForm, "%q is no digest of a receipt", d)
		}
	}
	return nil
}

// Question asks for leases and, between two sizes of the log, for the proof that
// it only grew.
type Question struct {
	Nonce string       `json:"nonce"`
	Host  trust.HostID `json:"host"`
	Older int64        `json:"older"`
	Newer int64        `json:"newer"`
}

// Answer is what witnesses and log said.
type Answer struct {
	Leases      []string       `json:"leases"` // each base64
	Consistency []canon.Digest `json:"consistency"`
	Why         canon.Note     `json:"why"` // there are not more
}

// Progress is what is being done, for people.
type Progress struct {
	Line canon.Note `json:"line"`
}

// End is the last word.
type End struct {
	Writ     canon.Digest `json:"writ"`   // writ.Body digest, or "" when the offered file is no writ
	Code     string       `json:"code"`   // why the writ was not begun or its end is not known, or ""
	Detail   canon.Note   `json:"detail"` // of Code; alone it is a failure of the machine
	Receipts []Receipt    `json:"receipts"`
}

// Receipt is a receipt that nobody has acknowledged yet.
type Receipt struct {
	Receipt writ.Receipt `json:"receipt"`
	Leases  []string     `json:"leases"` // that the host was shown, each base64
}

// Facts are what only root can see of a host; the helper writes them to a file
// that everybody can read.
type Facts struct {
	Type     string              `json:"type"` // TypeFacts
	At       int64               `json:"at"`   // Unix seconds
	Boot     string              `json:"boot"`
	Packages string              `json:"packages"` // PackagesOf before the look
	Mapped   []inventory.Mapping `json:"mapped"`   // deleted files that processes of the host still map
	Why      canon.Note          `json:"why"`      // not all processes could be looked at, or ""
}

// PackagesOf tells one state of the package database below root from another,
// without a clock: whatever the package manager writes is another file. "" when
// there is none to be seen.
func PackagesOf(root string) string {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "var/lib/dpkg/status"), &st); err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d %d.%09d %d.%09d", st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
}

// TypeFacts is the type of Facts.
const TypeFacts = "patchwrit/facts/v1"

// Names in the directory that the helper keeps for everybody to read.
const (
	Socket    = "helper.sock"
	FactsFile = "facts"
)

// Names in the messenger's directory that the helper looks at.
const (
	BlobsDir = "blobs" // files by their digest; a writ is one
	TrustDir = "trust" // the trust repository
	PoolDir  = "pool"  // what belongs to the writ, named as in docs/design/0001
)

// Base64 encodes byte strings for a message.
func Base64(all [][]byte) []string {
	out := make([]string, len(all))
	for i, b := range all {
		out[i] = base64.StdEncoding.EncodeToString(b)
	}
	return out
}

// Bytes decodes them again; what cannot be decoded is an error.
func Bytes(all []string) ([][]byte, error) {
	out := make([][]byte, len(all))
	for i, text := range all {
		b, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return nil, refusal.New(CodeForm, "base64: %v", err)
		}
		out[i] = b
	}
	return out, nil
}

// Write writes one frame: kind, length in four bytes, content.
func Write(w io.Writer, k Kind, v any) error {
	body, err := canon.Encode(v)
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(len(body)))
	_, err = w.Write(append(head, body...))
	return err
}

// Read reads one frame of at most limit bytes. At the end of the connection the
// error is io.EOF.
func Read(r io.Reader, limit int) (Kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = refusal.New(CodeForm, "a frame that is cut short")
		}
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if int64(n) > int64(limit) {
		return 0, nil, refusal.New(CodeForm, "a frame of %d bytes; the most is %d", n, limit)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows with what comes, not with what is claimed
	if err == nil && len(body) != int(n) {
		err = refusal.New(CodeForm, "a frame that is cut short")
	}
	return Kind(head[0]), body, err
}

// Expect reads one frame of one kind into v.
func Expect(r io.Reader, limit int, want Kind, v any) error {
	k, body, err := Read(r, limit)
	if err != nil {
		return err
	}
	return Decode(k, body, want, v)
}

// Decode reads the content of a frame into v, when it is of the kind wanted.
func Decode(k Kind, body []byte, want Kind, v any) error {
	if k != want {
		return refusal.New(CodeForm, "a frame of kind %q where %q comes next", byte(k), byte(want))
	}
	if err := canon.Decode(body, v); err != nil {
		return refusal.New(CodeForm, "%v", err)
	}
	return nil
}
