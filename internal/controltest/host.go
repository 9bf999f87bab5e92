package controltest

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// Ask is how a host speaks to the control plane.
type Ask func(ctx context.Context, wireKey string, v wire.Verb, body []byte) ([]byte, error)

// Host is a machine with its agent: it believes nothing and verifies all.
type Host struct {
	T         testing.TB
	Known     trust.Host
	Key       ed25519.PrivateKey
	Wire      string // public wire key
	Seed      []byte
	Run       string
	Installed map[string]string // versions by package
	Memory    writ.Memory
	Receipts  []writ.Receipt // not yet acknowledged
	leases    []string
	Applied   []canon.Digest // bodies of the writs that were carried out
	Refused   []string       // codes
	Mapped    []inventory.Mapping
	MappedAt  int64 // when it was looked for them; 0: its agent does not say
	MappedWhy canon.Note
	Name      string // what it calls itself; "": h
	Prose     string // the description of each of its packages

	Fail  bool                // the next change fails
	Edit  func(*writ.Receipt) // changes what it says of the next ones, before it signs; nil: nothing
	Trust trust.Versions
	root  trust.Root
}

// Host makes the agent of host n of the trust root, which has packages in the
// old version.
func (h *House) Host(n int, packages ...string) *Host {
	k, err := nkeys.CreateUser()
	h.must(err)
	seed, err := k.Seed()
	h.must(err)
	public, err := k.PublicKey()
	h.must(err)
	out := &Host{T: h.T, Known: h.names[n], Key: h.Keys[n], Wire: public, Seed: seed, Run: nonce()[:32], Installed: map[string]string{}, MappedAt: 1_750_000_000,
		Memory: writ.NewMemory(h.names[n].ID, h.Root().ID), root: h.Root(), Trust: h.Root().Versions}
	for _, p := range packages {
		out.Installed[p] = evidencetest.Old
	}
	return out
}

// Snapshot is what the host has.
func (a *Host) Snapshot() wire.Snapshot {
	s := wire.Snapshot{Type: wire.TypeSnapshot, Host: a.Known.ID, Arch: "amd64", Kernel: "6.1.0-1-amd64", Boot: "b", Status: []canon.Note{},
		OSRelease: canon.NoteOf("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"), Origins: []wire.PackageOrigin{}, Services: []wire.Service{}, Mapped: append([]inventory.Mapping{}, a.Mapped...),
		MappedAt: a.MappedAt, MappedWhy: a.MappedWhy, Booted: 1_700_000_000, KernelAt: 1_600_000_000}
	prose := ""
	if a.Prose != "" {
		prose = "Description: " + a.Prose + "\n"
	}
	for name, v := range a.Installed {
		s.Status = append(s.Status, canon.NoteOf(fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\n%s", name, v, prose)))
	}
	slices.Sort(s.Status)
	return s
}

func say[A any](ctx context.Context, a *Host, ask Ask, v wire.Verb, q any) (out A, err error) {
	raw, err := ask(ctx, a.Wire, v, canon.MustEncode(q))
	if err != nil {
		return out, err
	}
	return out, canon.Decode(raw, &out)
}

// Hello opens a connection.
func (a *Host) Hello(ctx context.Context, ask Ask) (wire.HelloAnswer, error) {
	return say[wire.HelloAnswer](ctx, a, ask, wire.Hello, wire.HelloRequest{Protocol: wire.Protocol, Version: "test", Host: a.Known.ID, Run: a.Run, Name: canon.NoteOf(cmp.Or(a.Name, "h"))})
}

// Report tells the inventory: hash, then whatever is wanted.
func (a *Host) Report(ctx context.Context, ask Ask) error {
	s := a.Snapshot()
	q := wire.InventoryRequest{Digest: s.Digest(), Gone: []string{}, Rest: wire.Snapshot{Status: []canon.Note{}, Origins: []wire.PackageOrigin{}, Services: []wire.Service{}, Mapped: []inventory.Mapping{}}}
	for range 5 {
		got, err := say[wire.InventoryAnswer](ctx, a, ask, wire.Report, q)
		switch {
		case err != nil:
			return err
		case got.Want == "nothing":
			return nil
		}
		q.Part, q.Rest, q.Base = 1, s, ""
	}
	return fmt.Errorf("host %s: the inventory is asked for again and again", a.Known.ID.Short())
}

// Fetch brings a blob.
func (a *Host) Fetch(ctx context.Context, ask Ask, d canon.Digest) ([]byte, error) {
	var out []byte
	for {
		got, err := say[wire.BlobAnswer](ctx, a, ask, wire.Fetch, wire.BlobRequest{Digest: d, Offset: int64(len(out))})
		if err != nil {
			return nil, err
		}
		part, err := base64.StdEncoding.DecodeString(got.Data)
		if err != nil || len(part) == 0 && int64(len(out)) < got.Size {
			return nil, fmt.Errorf("blob %s: an empty part: %v", d.Short(), err)
		}
		if out = append(out, part...); int64(len(out)) >= got.Size {
			if canon.SumFile(out) != d {
				return nil, fmt.Errorf("blob %s has other bytes", d.Short())
			}
			return out, nil
		}
	}
}

// Round is one round of an agent: receipts that wait, inventory, then what
// there is to do. It says whether a writ was carried out.
func (a *Host) Round(ctx context.Context, ask Ask) (bool, error) {
	if err := a.Deliver(ctx, ask); err != nil {
		return false, err
	}
	if err := a.Report(ctx, ask); err != nil {
		return false, err
	}
	next, err := a.Next(ctx, ask)
	if err != nil || next.Writ == "" {
		return false, err
	}
	raw, err := a.Fetch(ctx, ask, next.Writ)
	if err != nil {
		return false, err
	}
	return a.Act(ctx, ask, raw, next)
}

// Next asks what there is to do.
func (a *Host) Next(ctx context.Context, ask Ask) (wire.NextAnswer, error) {
	return say[wire.NextAnswer](ctx, a, ask, wire.Next, wire.NextRequest{Trust: a.Trust})
}

// Deliver hands receipts over until they are acknowledged.
func (a *Host) Deliver(ctx context.Context, ask Ask) error {
	if len(a.Receipts) == 0 {
		return nil
	}
	q := wire.ReceiptRequest{Receipts: []string{}, Leases: a.leases}
	for _, r := range a.Receipts {
		q.Receipts = append(q.Receipts, base64.StdEncoding.EncodeToString(canon.MustEncode(r)))
	}
	got, err := say[wire.ReceiptAnswer](ctx, a, ask, wire.Done, q)
	if err == nil && got.Stored == len(a.Receipts) {
		a.Receipts = nil
	}
	return err
}

// Act asks for leases, verifies the writ as an agent does, and carries it out.
func (a *Host) Act(ctx context.Context, ask Ask, raw []byte, next wire.NextAnswer) (bool, error) {
	var w writ.Writ
	if err := canon.Decode(raw, &w); err != nil {
		return false, err
	}
	if err := a.fetched(ctx, ask, w, next); err != nil {
		return false, err
	}
	a.Memory = a.Memory.Asking(nonce(), time.Now().Unix())
	got, err := say[wire.LeaseAnswer](ctx, a, ask, wire.Lease, wire.LeaseRequest{Nonce: a.Memory.Nonce, Older: a.Memory.Checkpoint.Size, Newer: sizeOf(w, a.root)})
	if err != nil {
		return false, err
	}
	r := writ.Raw{Writ: raw, Consistency: got.Consistency}
	for _, text := range got.Leases {
		lease, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return false, err
		}
		r.Leases = append(r.Leases, lease)
	}
	v, memory, err := writ.Verify(r, a.root, a.Memory, time.Now())
	if err != nil {
		a.Refused = append(a.Refused, string(refusal.CodeOf(err)))
		_, told := say[wire.ReceiptAnswer](ctx, a, ask, wire.Done, wire.ReceiptRequest{Receipts: []string{}, Leases: []string{}, Writ: w.Body.Digest(),
			Code: string(refusal.CodeOf(err)), Detail: canon.NoteOf(err.Error())})
		return false, told
	}
	a.Memory, a.leases = memory, got.Leases
	a.apply(v)
	return true, a.Deliver(ctx, ask)
}

// fetched looks whether all that the writ needs can be had.
func (a *Host) fetched(ctx context.Context, ask Ask, w writ.Writ, next wire.NextAnswer) error {
	for _, ch := range w.Branch.Changes {
		if !slices.ContainsFunc(next.Pool, func(f wire.File) bool { return f.Digest == ch.Artefact }) {
			return fmt.Errorf("the artefact of %s is not offered", ch.Key())
		}
	}
	releases := 0
	for _, f := range next.Pool {
		if strings.HasPrefix(f.Name, "releases/") {
			releases++
		}
		if raw, err := a.Fetch(ctx, ask, f.Digest); err != nil || int64(len(raw)) != f.Size {
			return fmt.Errorf("%s: %d of %d bytes: %v", f.Name, len(raw), f.Size, err)
		}
	}
	if releases < 2 {
		return fmt.Errorf("%d files of the vendor's release are offered", releases)
	}
	return nil
}

// apply carries verified changes out and makes the receipt.
func (a *Host) apply(v writ.Verified) {
	now := time.Now().Unix()
	r := writ.Receipt{Type: writ.TypeReceipt, Host: a.Known.ID, Writ: v.Digest(), Plan: v.Plan(), Wave: v.Wave(), Shown: v.Shown(), Outcome: writ.Done,
		States: []writ.State{}, Effective: writ.Effective{Installed: writ.Yes, Running: writ.Yes, Rescanned: writ.Unknown, Healthy: writ.Unknown, Attested: writ.Unknown, Stale: []string{}},
		Started: now, Ended: now, Checkpoint: a.Memory.Checkpoint}
	for _, ch := range v.Changes() {
		s := writ.State{Package: ch.Package, Arch: ch.Arch, Before: ch.From, After: ch.To, Status: "installed"}
		if a.Fail {
			s.After = ch.From
		} else if ch.Op == change.Upgrade {
			a.Installed[ch.Package] = ch.To
		}
		r.States = append(r.States, s)
	}
	if a.Fail {
		r.Outcome, r.Code, r.Effective.Installed, r.Effective.Running = writ.Failed, "PW-APT-BROKEN", writ.No, writ.Unknown
	}
	if a.Edit != nil {
		a.Edit(&r)
	}
	a.Applied = append(a.Applied, v.Digest())
	a.Receipts = append(a.Receipts, writtest.SignReceipt(r, a.Key))
}

// sizeOf is the size of the checkpoint in a writ's proof.
func sizeOf(w writ.Writ, root trust.Root) int64 {
	policy, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return 0
	}
	seen, err := policy.Verify(w.Body.Entry(), w.Proof)
	if err != nil {
		return 0
	}
	return seen.Checkpoint.Size
}
