package redteam

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// target is a host with what the trust root says of it.
type target struct {
	Host
	known trust.Host
}

// parcel is what is handed to a host: the writ and everything beside it. The
// zero values are honest ones.
type parcel struct {
	to      *target
	writ    []byte
	pool    string
	trust   string       // another trust repository
	pinned  canon.Digest // another digest
	leases  [][]byte     // these, in place of the witnesses' own
	state   string       // another state directory
	log     string       // another log's tiles
	offline bool         // in a network of its own, with nobody in it
}

// answer is what came back.
type answer struct {
	code     refusal.Code
	detail   string
	exit     int
	receipts []writ.Receipt
}

// applyTime bounds one run of an agent: a few seconds are usual.
const applyTime = 3 * time.Minute

// hand gives a parcel to the host's agent and returns its answer.
func (p *play) hand(q parcel) (answer, error) {
	p.mu.Lock()
	p.parcels++
	dir := filepath.Join(p.Dir, "parcels", fmt.Sprintf("%04d", p.parcels))
	p.mu.Unlock()
	file := filepath.Join(dir, "writ.json")
	if err := put(file, q.writ); err != nil {
		return answer{}, err
	}
	or := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	argv := []string{"apply", "--root", q.to.Root, "--state", or(q.state, q.to.State), "--trust", or(q.trust, p.Trust), "--root-sha256", or(string(q.pinned), string(p.Pinned)),
		"--pool", q.pool, "--writ", file, "--log", or(q.log, p.logDir), "-o", "json"}
	for i, raw := range q.leases {
		name := filepath.Join(dir, fmt.Sprintf("lease%d.json", i))
		if err := put(name, raw); err != nil {
			return answer{}, err
		}
		argv = append(argv, "--lease", name)
	}
	a, err := p.agent(q.offline, argv...)
	if len(a.receipts) > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.last[q.to.Name] = a.receipts[len(a.receipts)-1]
	}
	return a, err
}

// agent runs the agent binary to its end.
func (p *play) agent(offline bool, argv ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(p.ctx, applyTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Agent, argv...)
	if offline {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		return answer{}, fmt.Errorf("%s: %w", p.Agent, errors.Join(err, ctx.Err()))
	}
	var doc struct {
		Receipts []writ.Receipt `json:"receipts"`
		Error    *struct{ Code, Title, Seen string }
	}
	a := answer{exit: cmd.ProcessState.ExitCode()}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
			return a, fmt.Errorf("%s says %q: %w", p.Agent, out.String(), err)
		}
	}
	a.receipts = doc.Receipts
	switch {
	case doc.Error != nil:
		a.code, a.detail = refusal.Code(doc.Error.Code), strings.TrimSpace(doc.Error.Seen)
		if a.code == "" {
			a.detail = doc.Error.Title
		}
	case a.exit != 0:
		a.detail = strings.TrimSpace(errs.String())
		a.code = refusal.Code(firstCode(a.detail))
	}
	return a, nil
}

// firstCode finds the first refusal code in words for people.
func firstCode(text string) string {
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n\t:(),.", r) }) {
		if strings.HasPrefix(w, "PW-") {
			return w
		}
	}
	return ""
}

// done carries a parcel out for honest people: anything but a good receipt is
// an error.
func (p *play) done(q parcel) error {
	a, err := p.hand(q)
	if err != nil {
		return err
	}
	if a.exit != 0 || len(a.receipts) == 0 || !a.receipts[len(a.receipts)-1].Good() {
		return fmt.Errorf("on %s: exit %d, %s %s, %d receipts", q.to.Name, a.exit, a.code, a.detail, len(a.receipts))
	}
	return nil
}

// packages is what every host has, by its name: package to version and state.
func (p *play) packages() (map[string]map[string]string, error) {
	all := map[string]map[string]string{}
	for _, t := range p.targets {
		inv, err := inventory.Read(os.DirFS(t.Root))
		if err != nil {
			return nil, err
		}
		has := map[string]string{}
		for _, k := range inv.Packages {
			has[k.Key()] = k.Version + " " + k.Status.State
		}
		if _, err := os.Lstat(filepath.Join(t.Root, ownedMark)); err == nil {
			has["/"+ownedMark] = "a trojan ran"
		}
		all[t.Name] = has
	}
	return all, nil
}

// delta lists what differs, as "host package: before -> after", sorted.
func delta(before, after map[string]map[string]string) []string {
	var out []string
	for host := range after {
		for key, v := range after[host] {
			if was := before[host][key]; was != v {
				out = append(out, fmt.Sprintf("%s %s: %s -> %s", host, key, orNone(was), orNone(v)))
			}
		}
		for key, was := range before[host] {
			if _, still := after[host][key]; !still {
				out = append(out, fmt.Sprintf("%s %s: %s -> none", host, key, was))
			}
		}
	}
	slices.Sort(out)
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func differ(before, after map[string]map[string]string) error {
	if d := delta(before, after); len(d) > 0 {
		return fmt.Errorf("hosts changed: %s", strings.Join(d, "; "))
	}
	return nil
}

// install puts packages onto a host with plain dpkg, as from before Patchwrit.
func (p *play) install(t *target, packages ...debworld.Package) error {
	r := debworld.At(t.Root)
	for _, k := range packages {
		raw, err := k.Build()
		if err != nil {
			return err
		}
		if err := r.Write("/tmp/"+k.FileName(), raw, 0o644); err != nil {
			return err
		}
		if _, err := r.Run(p.ctx, "dpkg", "-i", "/tmp/"+k.FileName()); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(t.Root, "tmp", k.FileName())); err != nil {
			return err
		}
	}
	return nil
}
