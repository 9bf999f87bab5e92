package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/fleet"
	"github.com/patchwrit/patchwrit/redteam"
)

// attackers is a vendor whose key the attacker holds: the trust root names him,
// so that what he signs is right by everything but what people permitted.
func (s *stage) attackers() (fleet.Origin, error) {
	var err error
	if s.vendor, err = redteam.NewVendor(); err != nil {
		return fleet.Origin{}, err
	}
	origin, err := json.Marshal(s.vendor.Origin)
	o := fleet.Origin{File: filepath.Join(s.dir, "redteam-vendor.json"), Keyring: filepath.Join(s.dir, redteam.VendorKeyring)}
	return o, errors.Join(err, os.WriteFile(o.File, origin, 0o644), os.WriteFile(o.Keyring, s.vendor.Keyring, 0o644))
}

// attacks has the attacker at three of the hosts. The control plane and the
// agents are stopped: he has a copy of all that the control plane had, and hands
// writs to the hosts' agent himself. The witnesses go on.
func (s *stage) attacks() error {
	for _, m := range s.fleet.Machines {
		if err := errors.Join(s.fleet.Kill(fleet.Messenger(m.Name)), s.fleet.Kill(fleet.Helper(m.Name))); err != nil {
			return err
		}
	}
	if err := s.fleet.Kill(fleet.Control); err != nil {
		return err
	}
	scene, err := s.scene()
	if err != nil {
		return err
	}
	results, err := redteam.Run(s.ctx, scene)
	for _, r := range results {
		s.summary.Attacks = append(s.summary.Attacks, attack{r.ID, string(r.Where), r.Expected, r.Code, string(r.Outcome), r.ControlOK})
		if !r.OK() {
			s.wrong++
			fmt.Printf("    NOT AS IT SHOULD BE: %s: %s %s, expected %s, control %t: %s\n", r.ID, r.Outcome, r.Code, r.Expected, r.ControlOK, r.Detail)
		}
	}
	fmt.Printf("    %d attacks, %d not as they should be\n", len(results), s.wrong)
	return err
}

// scene is the place of the attacks.
func (s *stage) scene() (redteam.Scene, error) {
	house := s.fleet.House()
	scene := redteam.Scene{Dir: s.fleet.In("attacker"), Trust: house[1], Pinned: canon.Digest(house[3]), Data: s.fleet.Data(),
		Agent: filepath.Join(s.fleet.Bin, "patchwrit-agent"), CLI: filepath.Join(s.fleet.Bin, "patchwrit"), Vendor: s.vendor, Progress: indented{}}
	if err := os.Mkdir(scene.Dir, 0o700); err != nil {
		return scene, err
	}
	for i := range fleet.Witnesses {
		scene.Witnesses = append(scene.Witnesses, s.fleet.In(fleet.WitnessName(i)))
	}
	for _, name := range []string{"web-1", "web-2", "db-1"} {
		root := s.fleet.Machine(name).Root.Dir
		scene.Hosts = append(scene.Hosts, redteam.Host{Name: name, Root: root, State: filepath.Join(root, "var/lib/patchwrit-helper")})
	}
	for _, p := range fleet.People {
		raw, err := os.ReadFile(s.fleet.Key(p.Name))
		if err != nil {
			return scene, err
		}
		key, err := ssh.ParseRawPrivateKey(raw)
		if err != nil {
			return scene, err
		}
		private, ok := key.(*ed25519.PrivateKey)
		if !ok {
			return scene, fmt.Errorf("the key of %s is a %T", p.Name, key)
		}
		scene.People = append(scene.People, redteam.Person{SSH: *private})
	}
	return scene, nil
}
