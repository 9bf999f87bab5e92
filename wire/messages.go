// Package wire carries agents: messages between a host's messenger and the
// control plane, the embedded bus, and the way in.
//
// The parties: a messenger on each host, which connects outbound only and
// believes nothing it hears; the control plane, which believes nothing either
// but who is speaking. The objects: a Verb with its request and answer, a
// Server, a Conn.
//
// The promise: a handler is told the wire key that really spoke, and no agent
// can publish or listen as another; everything is bounded; a lost connection
// loses no more than the answer to a question, and every question may be asked
// again. What is carried permits nothing: hosts verify writs themselves.
package wire

import (
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/trust"
)

// Verb is what an agent asks.
type Verb string

// The verbs, each with its request and its answer.
const (
	Hello  Verb = "hello"     // HelloRequest → HelloAnswer
	Report Verb = "inventory" // InventoryRequest → InventoryAnswer
	Next   Verb = "next"      // NextRequest → NextAnswer
	Fetch  Verb = "blob"      // BlobRequest → BlobAnswer
	Lease  Verb = "lease"     // LeaseRequest → LeaseAnswer
	Done   Verb = "receipt"   // ReceiptRequest → ReceiptAnswer
)

// Verbs lists all of them.
var Verbs = []Verb{Hello, Report, Next, Fetch, Lease, Done}

// Limits.
const (
	MaxBody  = 900 << 10 // of a request or an answer, in bytes; the bus carries 1 MiB
	MaxChunk = 512 << 10 // of a blob, before base64
)

// HelloRequest opens every connection.
type HelloRequest struct {
	Protocol int          `json:"protocol"`
	Version  string       `json:"version"` // of the agent
	Host     trust.HostID `json:"host"`
	Run      string       `json:"run"`  // 16 random bytes, lower hex, new with each start of the messenger: two that alternate are two machines
	Name     canon.Note   `json:"name"` // what the host calls itself; shown, never believed
}

// HelloAnswer says how the control plane sees the host.
type HelloAnswer struct {
	Protocol int       `json:"protocol"`
	State    HostState `json:"state"`
	Time     int64     `json:"time"`  // Unix seconds, for a log line only
	Every    int       `json:"every"` // seconds between two Next, before jitter
}

// HostState is how the control plane sees a host.
type HostState string

// The states of a host.
const (
	Pending  HostState = "pending"  // enrolled, and not named by the trust root: it gets nothing
	Enrolled HostState = "enrolled" // named by the trust root
	Cloned   HostState = "cloned"   // two machines speak with one key: it gets nothing until a person has looked
	Gone     HostState = "gone"     // removed by a person
)

// Snapshot is what a messenger tells of its host.
type Snapshot struct {
	Type      string              `json:"type"` // TypeSnapshot
	Host      trust.HostID        `json:"host"`
	OSRelease canon.Note          `json:"os_release"` // text of os-release
	Arch      string              `json:"arch"`
	Kernel    string              `json:"kernel"`  // running, uname -r
	Status    []canon.Note        `json:"status"`  // paragraphs of dpkg's status file, ascending
	Origins   []PackageOrigin     `json:"origins"` // where apt says installed packages came from, ascending by package
	Services  []Service           `json:"services"`
	Mapped    []inventory.Mapping `json:"mapped"` // processes on deleted files, as the helper saw them; their Process and Owners since protocol 4
	Boot      string              `json:"boot"`   // boot id

	// What is absent is not known. Times are Unix seconds by the host's clock.
	MappedAt    int64      `json:"mapped_at,omitempty"`    // when Mapped was first seen as it is, since the packages are as Status says
	MappedWhy   canon.Note `json:"mapped_why,omitempty"`   // why Mapped does not speak of these packages: there is none, it is older, it is not whole
	Booted      int64      `json:"booted,omitempty"`       // when the machine was
	KernelAt    int64      `json:"kernel_at,omitempty"`    // when the image of the running release came onto the disk
	KernelBuild canon.Note `json:"kernel_build,omitempty"` // of what runs, uname -v
}

// TypeSnapshot is the type and digest domain of a Snapshot.
const TypeSnapshot = "patchwrit/snapshot/v1"

// PackageOrigin is where an installed package came from.
type PackageOrigin struct {
	Package string     `json:"package"` // name:arch
	Origin  canon.Note `json:"origin"`  // Release file's Origin
	Suite   canon.Note `json:"suite"`
}

// Service is a unit of the service manager.
type Service struct {
	Name  canon.Note `json:"name"`
	State canon.Note `json:"state"` // active state, as systemctl says
}

// Listed reports whether Mapped is whole, and was made when the packages were
// already as Status says; if not, why.
func (s Snapshot) Listed() (why string, ok bool) {
	switch {
	case s.MappedWhy != "":
		return s.MappedWhy.Text(), false
	case s.MappedAt == 0:
		return "its agent does not say when it looked for processes on deleted files", false
	}
	return "", true
}

// In is the snapshot in the form of a protocol that Common has given.
func (s Snapshot) In(protocol int) Snapshot {
	if protocol < 4 {
		s.Mapped = slices.Clone(s.Mapped)
		for i := range s.Mapped {
			s.Mapped[i].Process, s.Mapped[i].Owners = "", nil
		}
	}
	return s
}

// Digest names the snapshot.
func (s Snapshot) Digest() canon.Digest { return canon.Sum(TypeSnapshot, canon.MustEncode(s)) }

// InventoryRequest tells what a host has: first only the digest; when the
// answer wants more, a delta against Base; when it wants all, every paragraph
// in parts. A part holds Status paragraphs only; the last one (More false) holds
// the rest of the snapshot too.
type InventoryRequest struct {
	Digest canon.Digest `json:"digest"` // of the whole snapshot
	Base   canon.Digest `json:"base"`   // snapshot that this is a delta to, or ""
	Part   int          `json:"part"`   // 0 for the hash alone; then 1, 2, …
	More   bool         `json:"more"`   // parts follow
	Gone   []string     `json:"gone"`   // SHA-256 (canon.SumFile) of the paragraphs of Base that are no more
	Rest   Snapshot     `json:"rest"`   // Status: the paragraphs that are new
}

// InventoryAnswer says what the control plane wants.
type InventoryAnswer struct {
	Want string       `json:"want"` // "nothing", "delta", "all", "more"
	Base canon.Digest `json:"base"` // for a delta: the snapshot of this host that the control plane holds
}

// NextRequest asks what there is to do.
type NextRequest struct {
	Trust  trust.Versions `json:"trust"`  // of the trust repository that the messenger holds
	Helper canon.Note     `json:"helper"` // why a writ cannot be tried on the host, or ""; since protocol 2
}

// NextAnswer is what there is to do. All of it is found by digest with Fetch.
type NextAnswer struct {
	Trust []File       `json:"trust"` // files of the trust repository, when it is newer than the agent's
	Writ  canon.Digest `json:"writ"`  // SumFile of the writ's bytes, or ""
	Pool  []File       `json:"pool"`  // files that the writ needs, named as in the pool
}

// File is a file to fetch.
type File struct {
	Name   string       `json:"name"` // slash-separated, relative
	Digest canon.Digest `json:"digest"`
	Size   int64        `json:"size"`
}

// BlobRequest asks for a part of a blob. To know the digest is to be allowed to:
// an answer has named it, and nobody guesses one.
type BlobRequest struct {
	Digest canon.Digest `json:"digest"`
	Offset int64        `json:"offset"`
}

// BlobAnswer is a part of a blob.
type BlobAnswer struct {
	Data string `json:"data"` // standard base64, at most MaxChunk bytes decoded
	Size int64  `json:"size"` // of the whole blob
}

// LeaseRequest has witnesses asked for this host, and the log for a proof that
// it only grew.
type LeaseRequest struct {
	Nonce string `json:"nonce"`
	Older int64  `json:"older"` // size of the checkpoint that the host holds; 0: none
	Newer int64  `json:"newer"` // size of the writ's
}

// LeaseAnswer carries what the witnesses said.
type LeaseAnswer struct {
	Leases      []string       `json:"leases"` // canonical bytes of writ.Lease, each base64
	Consistency []canon.Digest `json:"consistency"`
	Why         canon.Note     `json:"why"` // what the witnesses that gave none said
}

// ReceiptRequest hands receipts over. The control plane answers once they are
// stored; until then they are handed over again.
type ReceiptRequest struct {
	Receipts []string     `json:"receipts"` // canonical bytes of writ.Receipt, each base64
	Leases   []string     `json:"leases"`   // those that the host was shown, for auditors, each base64
	Writ     canon.Digest `json:"writ"`     // writ.Body digest that was tried
	Code     string       `json:"code"`     // why nothing was begun, or ""
	Detail   canon.Note   `json:"detail"`
}

// ReceiptAnswer acknowledges.
type ReceiptAnswer struct {
	Stored int `json:"stored"`
}
