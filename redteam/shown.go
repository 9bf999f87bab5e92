package redteam

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/proposal"
)

// shownRows attack people's own look at a plan: what they are to sign says
// another thing than the hosts would do.
func shownRows() []Row {
	row := func(id, says, what string, edit func(*play, *proposal.File) error) Row {
		return Row{ID: id, Where: AtControl, Says: says, What: what, Control: "the plan as it was made is signed by the same command", Effect: "no signature: the approver's own binary opens the whole plan first",
			play: func(p *play) (answer, error) {
				raw, err := os.ReadFile(p.kept["plan"])
				if err != nil {
					return answer{}, err
				}
				var f proposal.File
				if err := canon.Decode([]byte(strings.TrimSpace(string(raw))), &f); err != nil {
					return answer{}, err
				}
				if p.controlled = p.signs(f, ""); p.controlled != nil {
					return answer{}, p.controlled
				}
				if err := edit(p, &f); err != nil {
					return answer{}, err
				}
				return answer{detail: "not signed: " + says}, p.signs(f, says)
			}}
	}
	return []Row{
		row("duplicate-branch", "not strictly ascending", "a second branch for the same host, with other changes; tree and counts are right", func(p *play, f *proposal.File) error {
			twin := f.Branches[0]
			twin.Changes, twin.Rollback = slices.Clone(twin.Changes), slices.Clone(twin.Rollback)
			twin.Changes[0].Artefact = canon.SumFile([]byte("trojan"))
			f.Branches = append(f.Branches, twin)
			f.Header.Leaves, f.Header.Waves[0].Hosts = 2, 2
			return retree(f)
		}),
		row("hidden-branch-unseen", "not the header's tree", "the tree holds a branch that the file does not show", func(p *play, f *proposal.File) error {
			shown := f.Branches
			hidden := shown[0]
			hidden.Host = p.web.known.ID
			f.Branches = append(slices.Clone(shown), hidden)
			err := retree(f)
			f.Branches = shown
			return err
		}),
		row("class-lowered-in-the-header", "a change is critical", "the header says routine, a branch says more", func(_ *play, f *proposal.File) error {
			f.Branches[0].Changes = slices.Clone(f.Branches[0].Changes)
			f.Branches[0].Changes[0].Class = change.Critical
			return retree(f)
		}),
	}
}

// retree makes the header's tree anew.
func retree(f *proposal.File) error {
	var err error
	f.Header.Tree, err = whole.Tree(leaves(f.Branches))
	return err
}

// signs has a person approve a plan file with the patchwrit binary. With says,
// it must refuse with these words and give no signature; without, it must sign.
func (p *play) signs(f proposal.File, says string) error {
	dir, err := os.MkdirTemp(p.Dir, "approver-")
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(p.yes[0].SSH, "redteam software key")
	if err != nil {
		return err
	}
	key, file, out := filepath.Join(dir, "key"), filepath.Join(dir, "plan.json"), filepath.Join(dir, "yes.json")
	if err := errors.Join(os.WriteFile(key, pem.EncodeToMemory(block), 0o600), put(file, canon.MustEncode(f))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.ctx, applyTime)
	defer cancel()
	said, err := exec.CommandContext(ctx, p.CLI, "approve", file, "--key", key, "--yes", "--trust", p.Trust, "--root-sha256", string(p.Pinned), "--out", out).CombinedOutput()
	_, there := os.Stat(out)
	switch {
	case says == "" && (err != nil || there != nil):
		return fmt.Errorf("the honest plan is not signed: %w\n%s", errors.Join(err, there), said)
	case says != "" && (err == nil || there == nil):
		return fmt.Errorf("it was signed: %s", said)
	case !strings.Contains(string(said), says):
		return fmt.Errorf("it was refused for another reason: %s", said)
	}
	return nil
}
