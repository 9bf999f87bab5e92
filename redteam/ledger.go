package redteam

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the thief edits the record with another program than ours

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/evidence/record"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store/sqlite"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

// theLedger is the act in which what has happened is to have happened
// otherwise: in the database, and in the file that auditors and a SIEM keep.
func theLedger() act {
	return act{
		name: "the ledger edited", control: "the ledger as it was exported verifies, and the witnesses have seen no more",
		set: func(p *play) error {
			if err := errors.Join(p.up(p.stolen()), p.history()); err != nil {
				return err
			}
			p.ledger = filepath.Join(p.Dir, "ledger.jsonl")
			return errors.Join(p.export(p.ledger), p.down())
		},
		rows: append(fileRows(), baseRows()...),
		proof: func(p *play) error {
			a, err := p.audit(p.ledger, "", "--ask")
			if err == nil && (a.exit != 0 || a.code != "") {
				err = fmt.Errorf("exit %d: %s %s", a.exit, a.code, a.detail)
			}
			return err
		},
	}
}

// history makes a few things happen that are logged: grants that cover nothing.
func (p *play) history() error {
	for range 2 {
		g, as, err := p.grant(func(g *approval.Grant) {
			g.Scope = trust.Scope{Hosts: []trust.HostID{canon.SumFile([]byte("nobody"))}, Domains: []string{}, Labels: []trust.Label{}}
			g.Packages = []string{"nothing-at-all"}
		}, p.yes...)
		if err == nil {
			err = p.server.ask(p.ctx, "grants", control.Signed{Grant: g, Approvals: as}, nil)
		}
		if err == nil {
			err = p.allLogged() // so each has a checkpoint of its own
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// allLogged waits until the log holds all that has to be in it.
func (p *play) allLogged() error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		var events []control.Logged
		if err := p.server.ask(p.ctx, "ledger?logged=1", nil, &events); err != nil {
			return err
		}
		if !slices.ContainsFunc(events, func(e control.Logged) bool { return e.Index < 0 }) {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("the control plane does not log what happened")
		}
	}
}

// export writes the running control plane's ledger to a file.
func (p *play) export(file string) error {
	ctx, cancel := context.WithTimeout(p.ctx, applyTime)
	defer cancel()
	said, err := exec.CommandContext(ctx, p.CLI, "ledger", "export", "--server", "unix:"+p.server.socket, "--trust", p.Trust, "--root-sha256", string(p.Pinned), "--out", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ledger export: %w\n%s", err, said)
	}
	return nil
}

// audit verifies a ledger's file with the patchwrit binary. Of what is found it
// tells the code that is looked for, or else the first one.
func (p *play) audit(file string, want refusal.Code, args ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(p.ctx, applyTime)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, p.CLI, append([]string{"ledger", "verify", file, "--trust", p.Trust, "--root-sha256", string(p.Pinned), "-o", "json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || out.Len() == 0 {
		return answer{}, fmt.Errorf("ledger verify: %w\n%s", err, &errs)
	}
	var r record.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return answer{}, err
	}
	a := answer{exit: cmd.ProcessState.ExitCode()}
	for i, f := range r.Findings {
		if i == 0 || f.Code == want {
			a.code, a.detail = f.Code, f.Says
		}
	}
	if r.OK != (len(r.Findings) == 0) || r.OK != (a.exit == 0) {
		return a, fmt.Errorf("ledger verify contradicts itself: exit %d, %+v", a.exit, r)
	}
	return a, nil
}

// kept is a ledger's file in memory.
type kept struct {
	rows []record.Row
	seal record.Seal
}

func readLedger(file string) (k kept, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return k, err
	}
	all := lines(raw)
	for _, line := range all[:len(all)-1] {
		var r record.Row
		if err := canon.Decode(line, &r); err != nil {
			return k, err
		}
		k.rows = append(k.rows, r)
	}
	if len(k.rows) < 4 {
		return k, fmt.Errorf("the ledger has %d rows; four are needed", len(k.rows))
	}
	return k, canon.Decode(all[len(all)-1], &k.seal)
}

func (k kept) bytes() []byte {
	var b bytes.Buffer
	for _, r := range k.rows {
		b.Write(append(canon.MustEncode(r), '\n'))
	}
	k.seal.Rows = int64(len(k.rows))
	b.Write(append(canon.MustEncode(k.seal), '\n'))
	return b.Bytes()
}

// edited makes a grant that people signed a wider one, in its own row.
func (k kept) edited() (at int, err error) {
	for i, r := range k.rows {
		body, err := base64.StdEncoding.DecodeString(r.Body)
		if wide := bytes.Replace(body, []byte(`"nothing-at-all"`), []byte(`"*"`), 1); err == nil && r.Entry.Kind == "grant" && !bytes.Equal(wide, body) {
			k.rows[i].Body = base64.StdEncoding.EncodeToString(wide)
			return i, nil
		}
	}
	return 0, errors.New("no grant of ours is in the ledger")
}

// fileRows attack the exported file: an auditor's copy, or a SIEM's.
func fileRows() []Row {
	row := func(id string, code refusal.Code, what string, edit func(*play, *kept) error, args ...string) Row {
		return Row{ID: id, Where: AtControl, Code: code, What: what, play: func(p *play) (answer, error) {
			k, err := readLedger(p.ledger)
			if err == nil {
				err = edit(p, &k)
			}
			file := filepath.Join(p.Dir, id+".jsonl")
			if err == nil {
				err = put(file, k.bytes())
			}
			if err != nil {
				return answer{}, err
			}
			return p.audit(file, code, args...)
		}}
	}
	return []Row{
		row("ledger-row-edited", record.CodeEdited, "in the exported ledger a grant is made a wider one", func(_ *play, k *kept) error { _, err := k.edited(); return err }),
		row("ledger-row-deleted", record.CodeDeleted, "one event is taken out, and the count at the end is put right", func(_ *play, k *kept) error {
			k.rows = slices.Delete(k.rows, 1, 2)
			return nil
		}),
		row("ledger-rows-reordered", record.CodeOrder, "two events change places", func(_ *play, k *kept) error {
			k.rows[1], k.rows[2] = k.rows[2], k.rows[1]
			return nil
		}),
		row("ledger-truncated", record.CodeTruncated, "the last event is cut off, and the count at the end is put right", func(_ *play, k *kept) error {
			k.rows = k.rows[:len(k.rows)-1]
			return nil
		}),
		row("ledger-truncated-with-its-checkpoint", record.CodeTruncated, "the last event is cut off, and sealed with an earlier checkpoint that the witnesses did cosign; the auditor asks them", olderSeal, "--ask"),
		row("ledger-resigned", record.CodeResigned, "a grant is made a wider one; its entry, every proof, the tree and the seal are made anew with the log's own key", resealed),
	}
}

// olderSeal seals all rows but the last with the checkpoint of an earlier proof.
func olderSeal(p *play, k *kept) error {
	for n := len(k.rows) - 1; n > 1; n-- {
		text, err := base64.StdEncoding.DecodeString(string(k.rows[n-1].Proof))
		if err != nil {
			return err
		}
		_, signed, _ := strings.Cut(string(text), "\n\n")
		v, err := p.policy.Checkpoint([]byte(signed))
		if err == nil && int(v.Checkpoint.Size) < len(k.rows) {
			k.rows = k.rows[:v.Checkpoint.Size]
			k.seal.Checkpoint = base64.StdEncoding.EncodeToString([]byte(signed))
			return nil
		}
	}
	return errors.New("no earlier checkpoint is in the ledger")
}

// resealed makes everything anew that the log's key can make.
func resealed(p *play, k *kept) error {
	at, err := k.edited()
	if err != nil {
		return err
	}
	body, err := base64.StdEncoding.DecodeString(k.rows[at].Body)
	if err != nil {
		return err
	}
	k.rows[at].Entry.Subject = approval.Statement{Kind: approval.Allow, Bytes: body}.Digest()
	h, err := p.owned(0)
	if err != nil {
		return err
	}
	var entries [][]byte
	for i, r := range k.rows {
		if r.Index != int64(i) {
			return fmt.Errorf("row %d is leaf %d", i, r.Index)
		}
		entries = append(entries, r.Entry.Bytes())
	}
	return k.prove(h, entries)
}

func (k *kept) prove(h trusttest.House, entries [][]byte) error {
	var err error
	for i := range k.rows {
		if k.rows[i].Proof, err = h.Prove(entries, i); err != nil {
			return err
		}
	}
	signed, err := h.Witnessed(entries)
	k.seal.Checkpoint = base64.StdEncoding.EncodeToString(signed)
	return err
}

// baseRows attack the database itself; then the control plane runs on it.
func baseRows() []Row {
	row := func(id string, code refusal.Code, what, statement string) Row {
		return Row{ID: id, Where: AtControl, Code: code, What: what + ", with the triggers that forbid it taken off; the control plane is started over it, and its ledger exported", play: func(p *play) (answer, error) {
			data, file := filepath.Join(p.Dir, id), filepath.Join(p.Dir, id+".jsonl")
			if err := errors.Join(copyState(p.stolen(), data), tamper(p.ctx, data, statement)); err != nil {
				return answer{}, err
			}
			if err := p.up(data); err != nil {
				return answer{}, err
			}
			if err := errors.Join(p.export(file), p.down()); err != nil {
				return answer{}, err
			}
			return p.audit(file, code)
		}}
	}
	return []Row{
		row("database-row-edited", record.CodeEdited, "a grant is made a wider one in the database", `UPDATE events SET body = CAST(replace(CAST(body AS TEXT), '"nothing-at-all"', '"*"') AS BLOB) WHERE kind = 'grant'`),
		row("database-row-deleted", record.CodeDeleted, "a logged event is deleted from the database", `DELETE FROM events WHERE position = (SELECT position FROM events WHERE kind = 'grant' AND log_index IS NOT NULL ORDER BY position LIMIT 1)`),
	}
}

// tamper runs one statement over a record, as whoever holds the file can.
func tamper(ctx context.Context, data, statement string) error {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.Join(data, sqlite.FileName)}).String())
	if err != nil {
		return err
	}
	for _, s := range []string{"DROP TRIGGER events_stay", "DROP TRIGGER events_hold", statement} {
		result, err := db.ExecContext(ctx, s)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", s, err), db.Close())
		}
		if n, err := result.RowsAffected(); s == statement && (err != nil || n == 0) {
			return errors.Join(fmt.Errorf("%s changed %d rows: %w", s, n, err), db.Close())
		}
	}
	return db.Close()
}
