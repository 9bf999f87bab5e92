package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/identity/softkey"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/tlogtest"
	"github.com/patchwrit/patchwrit/tlog/writer"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/witness/ask"
)

const origin = "log.example/one"

// worldTool is the tool of the scripts. Everything it knows is in the working
// directory: trust/, root-sha256, people/N, log/.
func worldTool(args []string) int {
	verbs := map[string]func(args []string) error{
		"found": found, "addhost": addHost, "ready": ready, "append": appendTo, "fork": fork, "lease": lease, "await": await,
		"halt":   func(a []string) error { return hand(a, approval.Stop) },
		"lift":   func(a []string) error { return hand(a, approval.Lift) },
		"rehalt": rehalt,
	}
	if err := verbs[args[0]](args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		return 1
	}
	return 0
}

// found LINEFILE…: the keepers sign a house whose policy wants all these witnesses.
func found(lines []string) error {
	policy := "log " + tlogtest.New(origin, 0, 0).VKey(origin) + "\n"
	group := fmt.Sprintf("group all-of-them %d", len(lines))
	for _, file := range lines {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		policy += string(b)
		group += " " + strings.Fields(string(b))[1]
	}
	h, err := trusttest.New(nil, trusttest.Options{Now: time.Now(), Edit: func(c *ceremony.Contents) {
		c.Witnesses = policy + group + "\nquorum all-of-them\n"
	}})
	if err != nil {
		return err
	}
	files := h.Bundle()
	for i, k := range h.Keepers {
		files[fmt.Sprintf("../keepers/%d", i)] = []byte(hex.EncodeToString(k.Seed()))
	}
	for i, p := range h.People {
		files[fmt.Sprintf("../people/%d", i)] = []byte(hex.EncodeToString(p.SSH.Seed()))
	}
	files["../root-sha256"] = []byte(h.Pinned)
	for i, host := range h.Hosts {
		files[fmt.Sprintf("../host%d", i)] = []byte(host.ID)
	}
	for name, b := range files {
		path := filepath.Join("trust", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
			return err
		}
	}
	return nil
}

func seed(file string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s, err := hex.DecodeString(string(b))
	return ed25519.NewKeyFromSeed(s), err
}

// root loads the trust repository as a host would.
func root() (trust.Root, tlog.Policy, error) {
	pin, err := os.ReadFile("root-sha256")
	if err != nil {
		return trust.Root{}, tlog.Policy{}, err
	}
	r, err := trust.Load(os.DirFS("trust"), canon.Digest(pin), trust.Versions{}, time.Now())
	if err != nil {
		return r, tlog.Policy{}, err
	}
	p, err := tlog.ParsePolicy(r.Witnesses)
	return r, p, err
}

// addhost FILE: the keepers sign a new version with one host more.
func addHost(args []string) error {
	r, _, err := root()
	if err != nil {
		return err
	}
	s := ceremony.Signing{Pinned: r.ID, Now: time.Now()}
	for i := range 3 {
		k, err := seed(fmt.Sprintf("keepers/%d", i))
		if err != nil {
			return err
		}
		s.Keys = append(s.Keys, k)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	host := ceremony.FromHostKey(public, "c")
	if _, err := ceremony.AddHost("trust", s, host); err != nil {
		return err
	}
	return os.WriteFile(args[0], []byte(host.ID), 0o644)
}

// ready ADDR…: wait until something answers there.
func ready(addrs []string) error {
	for _, addr := range addrs {
		for deadline := time.Now().Add(20 * time.Second); ; {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
				break
			}
			if time.Now().After(deadline) {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// append FROM TO MILLISECONDS: the control plane logs entries and a host
// verifies each proof.
func appendTo(args []string) error {
	r, p, err := root()
	if err != nil {
		return err
	}
	n := [3]int{}
	for i := range n {
		n[i], _ = strconv.Atoi(args[i])
	}
	l, err := writer.Open(context.Background(), writer.Config{Dir: "log", Signer: tlogtest.New(origin, 0, 0).Signer(), Policy: r.Witnesses, BatchSize: 1})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n[2])*time.Millisecond)
	defer cancel()
	for i := n[0]; i < n[1]; i++ {
		e := tlog.NewEntry("plan", canon.SumFile([]byte{byte(i)}), int64(i))
		proof, err := l.Append(ctx, e)
		if err != nil {
			return err
		}
		v, err := p.Verify(e, proof)
		if err != nil {
			return err
		}
		fmt.Printf("entry %d at %d of %d by %d witnesses\n", i, v.Index, v.Checkpoint.Size, len(v.Witnesses))
	}
	return l.Close(ctx)
}

// fork SIZE ADDR: the owner of the log's key shows the witness another history.
func fork(args []string) error {
	size, _ := strconv.Atoi(args[0])
	l := tlogtest.New(origin, 0, 0)
	for i := range size {
		l.Append(tlog.NewEntry("plan", canon.SumFile([]byte{byte(i), 'f'}), int64(i)))
	}
	body := fmt.Sprintf("old %d\n\n%s", size, l.Signed(int64(size)))
	resp, err := http.Post("http://"+args[1]+"/add-checkpoint", "", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	fmt.Printf("%d %s", resp.StatusCode, said)
	return err
}

// lease HOSTFILE: a host asks for leases.
func lease(args []string) error {
	host, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	_, p, err := root()
	if err != nil {
		return err
	}
	leases, err := ask.Leases(context.Background(), p.Witnesses(), trust.HostID(host), strings.Repeat("5a", 32))
	fmt.Printf("%d leases\n", len(leases))
	return err
}

// await HOSTFILE: a host asks until every witness has given a lease.
func await(args []string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := lease(args); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// halt NAME HOSTFILE PEOPLE and lift NAME HOSTFILE PEOPLE: so many people sign.
func hand(args []string, kind approval.Kind) error {
	r, p, err := root()
	if err != nil {
		return err
	}
	host, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	h := approval.Halt{
		Type: approval.TypeHalt, Nonce: strings.Repeat("0", 64-2*len(args[0])) + hex.EncodeToString([]byte(args[0])), Author: "p-001", Note: "red lamp",
		From: r.Versions.Root, Until: 0, Scope: trust.Scope{Hosts: []trust.HostID{trust.HostID(host)}, Domains: []string{}, Labels: []trust.Label{}},
	}
	day := int64(24 * 3600) // the same halt all day, for every process
	h.From = time.Now().Unix() / day * day
	h.Until = h.From + 2*day
	people, _ := strconv.Atoi(args[2])
	approvals := []approval.Approval{}
	for i := range people {
		k, err := seed(fmt.Sprintf("people/%d", i))
		if err != nil {
			return err
		}
		a, err := softkey.SSH(r, k, h.Statement(kind), time.Now().Unix())
		if err != nil {
			return err
		}
		approvals = append(approvals, a)
	}
	return told(ask.Halt, ask.Lift, kind, p.Witnesses(), h, approvals)
}

type hander = func(context.Context, []tlog.Witness, approval.Halt, []approval.Approval) []ask.Answer

func told(halt, lift hander, kind approval.Kind, ws []tlog.Witness, h approval.Halt, as []approval.Approval) error {
	do := halt
	if kind == approval.Lift {
		do = lift
	}
	answers := do(context.Background(), ws, h, as)
	for _, a := range answers {
		if a.Err == nil {
			fmt.Println(a.Witness, a.Standing.State)
		}
	}
	return ask.Err(answers)
}

// rehalt: anybody hands the first witness's public halts over again.
func rehalt([]string) error {
	_, p, err := root()
	if err != nil {
		return err
	}
	list, err := ask.Standings(context.Background(), p.Witnesses()[0])
	if err != nil {
		return err
	}
	for _, h := range list.Halts {
		if err := told(ask.Halt, ask.Lift, approval.Stop, p.Witnesses(), h.Halt, h.Approvals); err != nil {
			return err
		}
	}
	return nil
}
