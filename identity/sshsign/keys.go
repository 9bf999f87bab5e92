package sshsign

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/patchwrit/patchwrit/identity"
	"github.com/patchwrit/patchwrit/trust"
)

const (
	maxKeyFile = 64 << 10 // the largest OpenSSH private key has about 4 KiB
	tries      = 3        // passphrases asked for, as ssh does
)

// Errors of keys that cannot be reached. Each is followed by what to do.
var (
	ErrNoAgent    = errors.New("no ssh-agent answers")
	ErrNoKeygen   = errors.New("ssh-keygen is not installed")
	ErrPassphrase = errors.New("wrong passphrase")
)

// File opens a private key file. A file that is locked asks for its passphrase
// up to three times. The file of a FIDO security key holds no secret that could
// sign: it opens as Keygen does.
func File(path string, passphrase func() ([]byte, error), terminal Terminal) (Signer, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	if public := publicHead(data); public != nil && security(public.Type()) {
		return Keygen(path, public, terminal)
	}
	raw, err := ssh.ParseRawPrivateKey(data)
	var locked *ssh.PassphraseMissingError
	for i := 0; errors.As(err, &locked) && i < tries; i++ {
		raw, err = unlock(data, passphrase)
		if errors.Is(err, ErrPassphrase) && i+1 < tries {
			err = locked
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	k, err := Memory(raw)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

// Memory signs with a private key in this program's memory, of any form that
// ssh.NewSignerFromKey takes.
func Memory(key any) (Signer, error) {
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	if err := accepted(signer.PublicKey().Type()); err != nil {
		return nil, err
	}
	return software{signer}, nil
}

func unlock(data []byte, passphrase func() ([]byte, error)) (any, error) {
	word, err := passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(word)
	raw, err := ssh.ParseRawPrivateKeyWithPassphrase(data, word)
	if err != nil {
		return nil, ErrPassphrase
	}
	return raw, nil
}

// readPrivate refuses a key that others on the machine can read, as ssh does.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key file %s: others on this machine can read it (%v). Run: chmod 600 %[1]s", path, info.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("key file %s: larger than any private key (%d bytes)", path, maxKeyFile)
	}
	return data, err
}

// publicHead reads the public key that stands unlocked at the head of an
// OpenSSH private key file (openssh/PROTOCOL.key), or nil.
func publicHead(data []byte) ssh.PublicKey {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	rest, ok := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
	var head struct {
		Cipher, KDF, Options string
		Keys                 uint32
		Public               []byte
		Rest                 []byte `ssh:"rest"`
	}
	if !ok || ssh.Unmarshal(rest, &head) != nil {
		return nil
	}
	key, err := ssh.ParsePublicKey(head.Public)
	if err != nil {
		return nil
	}
	return key
}

// software is a key in this program's memory.
type software struct{ key ssh.Signer }

func (k software) Public() []byte { return k.key.PublicKey().Marshal() }

func (k software) Sign(_ context.Context, namespace string, message []byte) ([]byte, error) {
	sig, err := k.key.Sign(rand.Reader, toSign(namespace, message))
	if err != nil {
		return nil, err
	}
	return pack(k.Public(), namespace, sig), nil
}

// Agent finds, in the ssh-agent that listens on socket (SSH_AUTH_SOCK), the
// first key that the roster lists for person, or for anybody when person is
// empty. Security keys work through the agent too: it asks for touch and PIN.
func Agent(ctx context.Context, socket string, root trust.Root, person trust.PersonID) (Signer, error) {
	keys, err := withAgent(ctx, socket, func(a agent.Agent) ([]*agent.Key, error) { return a.List() })
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if _, _, err := identity.Find(root, person, base64.StdEncoding.EncodeToString(k.Blob)); err == nil {
			return agentKey{socket, k.Blob}, nil
		}
	}
	return nil, fmt.Errorf("%w: the agent holds %d keys, none of them. Add yours with: ssh-add KEY", identity.ErrUnknown, len(keys))
}

type agentKey struct {
	socket string
	public []byte
}

func (k agentKey) Public() []byte { return k.public }

func (k agentKey) Sign(ctx context.Context, namespace string, message []byte) ([]byte, error) {
	key, err := ssh.ParsePublicKey(k.public)
	if err != nil {
		return nil, err
	}
	return withAgent(ctx, k.socket, func(a agent.Agent) ([]byte, error) {
		sig, err := a.Sign(key, toSign(namespace, message))
		if err != nil {
			return nil, fmt.Errorf("the ssh-agent would not sign with %s: %w", ssh.FingerprintSHA256(key), err)
		}
		return pack(k.public, namespace, sig), nil
	})
}

// withAgent asks one question over a connection of its own, which ctx can cut.
func withAgent[T any](ctx context.Context, socket string, ask func(agent.Agent) (T, error)) (T, error) {
	var none T
	if socket == "" {
		return none, fmt.Errorf("%w: SSH_AUTH_SOCK is not set. Start one with: eval \"$(ssh-agent)\"; ssh-add KEY", ErrNoAgent)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil && ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	if err != nil {
		return none, fmt.Errorf("%w: %v. Start one with: eval \"$(ssh-agent)\"; ssh-add KEY", ErrNoAgent, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	got, err := ask(agent.NewClient(conn))
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	return got, err
}

// Terminal is where ssh-keygen asks for PIN and touch. A nil In is no terminal;
// ssh-keygen then asks through SSH_ASKPASS.
type Terminal struct {
	In  *os.File
	Out io.Writer
}

// Keygen signs by calling the system's ssh-keygen, which speaks to FIDO
// security keys and asks for touch and PIN on the terminal. path is a private
// key file, or a public one whose private part is in the ssh-agent.
func Keygen(path string, public ssh.PublicKey, terminal Terminal) (Signer, error) {
	if err := accepted(public.Type()); err != nil {
		return nil, err
	}
	program, err := exec.LookPath("ssh-keygen")
	if err != nil {
		return nil, fmt.Errorf("%w, and it is what speaks to security keys. Install OpenSSH 8.9 or newer (Debian: openssh-client), or add the key to an ssh-agent", ErrNoKeygen)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return keygen{program, absolute, public.Marshal(), terminal}, nil
}

type keygen struct {
	program, path string
	public        []byte
	terminal      Terminal
}

func (k keygen) Public() []byte { return k.public }

// Sign hands the message over in a file: ssh-keygen asks for a PIN on its
// standard input, which therefore must stay the terminal.
func (k keygen) Sign(ctx context.Context, namespace string, message []byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "patchwrit-sign-") // 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "statement")
	if err := os.WriteFile(file, message, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, k.program, "-Y", "sign", "-f", k.path, "-n", namespace, "-O", "hashalg="+hash, file)
	cmd.Stdout, cmd.Stderr = k.terminal.Out, k.terminal.Out
	if k.terminal.In != nil {
		cmd.Stdin = k.terminal.In
	}
	cmd.WaitDelay = time.Second // after ctx has ended, for its helper to let go of the pipes
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("ssh-keygen did not sign: %w. Is the security key plugged in, and did you touch it?", errors.Join(err, context.Cause(ctx)))
	}
	armoured, err := os.ReadFile(file + ".sig")
	if err != nil {
		return nil, fmt.Errorf("ssh-keygen left no signature: %w", err)
	}
	return Dearmour(armoured)
}
