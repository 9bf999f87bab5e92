package redteam

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/witness"
	"github.com/patchwrit/patchwrit/witness/ask"
)

// beforeWitnesses is the act in which the log is written anew and signed with
// its own, stolen key.
func beforeWitnesses() act {
	return act{
		name: "the ledger written anew", control: "the honest log, one entry longer, is cosigned by the same witnesses",
		rows: []Row{
			resigned("witness-edited-entry", tlog.CodeFork, "one entry is edited", func(all [][]byte) [][]byte {
				all[1] = tlog.NewEntry("plan", canon.SumFile([]byte("edited")), 7).Bytes()
				return all
			}),
			resigned("witness-reordered-entries", tlog.CodeFork, "two entries change places", func(all [][]byte) [][]byte {
				all[0], all[1] = all[1], all[0]
				return all
			}),
			resigned("witness-deleted-entry", tlog.CodeConsistency, "one entry is taken out, and the log goes on", func(all [][]byte) [][]byte {
				all = slices.Delete(all, 1, 2)
				for i := range 3 {
					all = append(all, tlog.NewEntry("plan", canon.SumFile([]byte{byte(i)}), now()).Bytes())
				}
				return all
			}),
			resigned("witness-truncated-log", witness.CodeRequest, "the last entry is cut off", func(all [][]byte) [][]byte { return all[:len(all)-1] }),
			{ID: "witness-strangers-key", Where: AtWitness, Code: tlog.CodeSignature, What: "the honest log's next state, signed with another key", play: func(p *play) (answer, error) {
				entries, err := p.entries()
				if err != nil {
					return answer{}, err
				}
				h := trusttest.Must(nil, trusttest.Options{Log: p.policy.Origin()})
				return p.submit(trusttest.House{Log: h.Log}, append(entries, tlog.NewEntry("plan", anyDigest, now()).Bytes()))
			}},
		},
		proof: func(p *play) error {
			_, err := p.log.Append(p.ctx, tlog.NewEntry("plan", canon.SumFile([]byte(nonce())), now()))
			return err
		},
	}
}

// entries are the leaves of the stolen log.
func (p *play) entries() ([][]byte, error) {
	var all [][]byte
	for e, err := range p.log.Entries(p.ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, e.Bytes())
	}
	if len(all) < 3 {
		return nil, fmt.Errorf("the log has %d entries; three are needed", len(all))
	}
	return all, nil
}

// resigned is a row that writes the log anew, signs it, and asks for
// cosignatures.
func resigned(id string, code refusal.Code, what string, anew func([][]byte) [][]byte) Row {
	return Row{ID: id, Where: AtWitness, Code: code, What: what + "; tree and signature are made anew with the log's own key, and the witnesses are asked to cosign", play: func(p *play) (answer, error) {
		entries, err := p.entries()
		if err != nil {
			return answer{}, err
		}
		h, err := p.owned(0)
		if err != nil {
			return answer{}, err
		}
		return p.submit(h, anew(entries))
	}}
}

// submit asks every witness to cosign the log of these entries. All must say
// the same no.
func (p *play) submit(h trusttest.House, entries [][]byte) (answer, error) {
	signed, err := h.Witnessed(entries)
	if err != nil {
		return answer{}, err
	}
	var got answer
	for i, w := range p.policy.Witnesses() {
		last, err := p.settled(w)
		if err != nil {
			return answer{}, err
		}
		var proof []canon.Digest
		if last < int64(len(entries)) {
			if proof, err = trusttest.Consistent(entries, last); err != nil {
				return answer{}, err
			}
		}
		said, err := addCheckpoint(w, last, proof, signed)
		if err != nil {
			return answer{}, err
		}
		a := answer{code: refusal.Code(firstCode(said)), detail: said}
		if i > 0 && a.code != got.code {
			return a, fmt.Errorf("one witness says %q, another %q", got.detail, a.detail)
		}
		got = a
	}
	return got, nil
}

// settled waits until a witness has seen all of the honest log, and says how
// much that is.
func (p *play) settled(w tlog.Witness) (int64, error) {
	_, honest, err := p.log.Checkpoint(p.ctx)
	if err != nil {
		return 0, err
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		last, err := seenBy(w)
		switch {
		case err != nil || last >= honest.Checkpoint.Size:
			return last, err
		case time.Now().After(end):
			return last, fmt.Errorf("witness %s is at %d, the log at %d", w.Name, last, honest.Checkpoint.Size)
		}
	}
}

// seenBy is the size that a witness has cosigned last.
func seenBy(w tlog.Witness) (int64, error) {
	resp, err := http.Get(w.URL + "/healthz")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return 0, err
	}
	var h ask.Health
	err = canon.Decode(raw, &h)
	return h.Checkpoint.Size, err
}

// addCheckpoint is POST /add-checkpoint (c2sp.org/tlog-witness). An answer of
// 200 is a cosignature.
func addCheckpoint(w tlog.Witness, old int64, proof []canon.Digest, signed []byte) (string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", old)
	for _, h := range proof {
		fmt.Fprintln(&b, base64.StdEncoding.EncodeToString(h.Bytes()))
	}
	b.WriteString("\n")
	b.Write(signed)
	resp, err := http.Post(w.URL+"/add-checkpoint", "text/plain", &b)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && resp.StatusCode == http.StatusOK {
		return "", fmt.Errorf("witness %s has cosigned a log that was written anew", w.Name)
	}
	return strings.TrimSpace(string(raw)), err
}

// underAHalt halts one host, tries an approved writ there, and has the halt
// lifted.
func underAHalt(p *play) (answer, error) {
	author, err := p.id(p.author)
	if err != nil {
		return answer{}, err
	}
	h := approval.Halt{Type: approval.TypeHalt, Nonce: nonce(), Author: author, From: now() - 5, Until: now() + 3600,
		Scope: trust.Scope{Hosts: []trust.HostID{p.web.known.ID}, Domains: []string{}, Labels: []trust.Label{}}}
	stop, err := p.sign(h.Statement(approval.Stop), p.yes[:1]...)
	if err != nil {
		return answer{}, err
	}
	if err := ask.Err(ask.Halt(p.ctx, p.policy.Witnesses(), h, stop)); err != nil {
		return answer{}, fmt.Errorf("the halt: %w", err)
	}
	q, err := p.letter(p.twin, p.web)
	if err != nil {
		return answer{}, err
	}
	a, err := p.hand(q)
	lifts, lerr := p.sign(h.Statement(approval.Lift), p.yes...)
	p.controlled = errors.Join(lerr, ask.Err(ask.Lift(p.ctx, p.policy.Witnesses(), h, lifts)))
	return a, err
}
