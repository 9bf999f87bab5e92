package redteam

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/patchwrit/patchwrit/refusal"
)

// falseEnrolment enrols a host with the real agent, which was given the house's
// digest: first at the house's own control plane, then at the attacker's.
func falseEnrolment(p *play) (answer, error) {
	if err := p.forget(p.other); err != nil {
		return answer{}, err
	}
	said, err := p.enroll(p.server, "true")
	if err == nil && !strings.Contains(said, "under the pinned root") {
		err = errors.New("it does not say that the repository is under the pinned root")
	}
	if err != nil {
		p.controlled = fmt.Errorf("%w: %s", err, said)
	}
	dir, pinned, err := p.falseHouse()
	if err != nil {
		return answer{}, err
	}
	data := filepath.Join(p.Dir, "false-control")
	for _, name := range []string{"log.key", "policy.tar.gz"} {
		raw, rerr := os.ReadFile(filepath.Join(p.stolen(), name))
		err = errors.Join(err, rerr, os.MkdirAll(data, 0o700), os.WriteFile(filepath.Join(data, name), raw, 0o600))
	}
	if err != nil {
		return answer{}, err
	}
	liar, err := p.start(data, dir, pinned)
	if err != nil {
		return answer{}, err
	}
	said, err = p.enroll(liar, "false")
	a := answer{code: refusal.Code(firstCode(said)), detail: strings.TrimSpace(said)}
	if err == nil {
		a.code, err = "", fmt.Errorf("the host has enrolled: %s", said)
	} else {
		err = nil
	}
	return a, errors.Join(err, liar.stop())
}

// enroll runs the agent's verb for a host that has nothing but its key.
func (p *play) enroll(at *server, name string) (string, error) {
	dir := filepath.Join(p.Dir, "enroll-"+name)
	key, err := p.other.hostKey()
	if err != nil {
		return "", err
	}
	token, err := at.token(p.ctx)
	if err != nil {
		return "", err
	}
	state, file := filepath.Join(dir, "state"), filepath.Join(dir, "token")
	if err := errors.Join(os.MkdirAll(state, 0o700), os.WriteFile(filepath.Join(state, "host.key"), key, 0o600), os.WriteFile(file, []byte(token+"\n"), 0o600)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(p.ctx, applyTime)
	defer cancel()
	said, err := exec.CommandContext(ctx, p.Agent, "enroll", "--root-sha256", string(p.Pinned), "--server", at.url, "--token", file, "--state", state,
		"--messenger-state", filepath.Join(dir, "messenger"), "--public", filepath.Join(dir, "public"), "--root", p.other.Root, "--user", "0:0", "--name", p.other.Name).CombinedOutput()
	return string(said), err
}
