package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor/box"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/advisortest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/internal/raced"
	"github.com/patchwrit/patchwrit/policy/rego"
)

func TestMain(m *testing.M) {
	box.Stage()
	if os.Getenv("PATCHWRIT_TEST_MAIN") != "" { // a process that a test kills
		os.Exit(Main())
	}
	testscript.Main(m, map[string]func(){"patchwrit": func() { os.Exit(Main()) }, "witness": runWitness, "world": worldTool})
}

// TestScript runs what a person would type. Each script finds in its directory
// a house ("trust"), evidence that holds ("evidence.json"), evidence in which
// the control plane made one receipt say more ("edited.json"), the keys of two
// of its three keepers ("keeper-1.pem", "keeper-2.pem") and of the third, and the
// pin of the house in $PIN, of another house in $OTHERPIN, and the house's
// "witness.policy". The people of the roster are $P1 to $P3. "plan.json" is the plan of internal/advicetest. What a script puts into "site" is served at $SITE.
func TestScript(t *testing.T) {
	raced.Leave(t, "make test-e2e")
	w := evidencetest.Must(evidencetest.Options{Now: time.Now().Truncate(time.Second).UTC()})
	good := w.Raw()
	edited := bytes.Replace(good, []byte(`"healthy":"unknown"`), []byte(`"healthy":"yes"`), 1)
	if bytes.Equal(good, edited) {
		t.Fatal("the bundle has nothing to edit")
	}
	dir, sandboxed := shutIn(t)
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Condition: sandboxed, RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exitcode": exitcode, "site": siteConf, "sshkey": sshKey, "answer": writeAnswer, "provider": provider, "pack": pack},
		Setup: func(e *testscript.Env) error {
			files := map[string][]byte{"evidence.json": good, "edited.json": edited, "plan.json": advicetest.Material().Plan.Bytes(), "witness.policy": []byte(w.House.Root.Witnesses)}
			for name, b := range w.House.Bundle() {
				files[filepath.Join("trust", name)] = b
			}
			for name, b := range files {
				path := filepath.Join(e.WorkDir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(path, b, 0o644); err != nil {
					return err
				}
			}
			for i, key := range w.House.Keepers {
				der, err := x509.MarshalPKCS8PrivateKey(key)
				if err != nil {
					return err
				}
				file := filepath.Join(e.WorkDir, fmt.Sprintf("keeper-%d.pem", i+1))
				if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
					return err
				}
				e.Setenv(fmt.Sprintf("K%d", i+1), hex.EncodeToString(key.Public().(ed25519.PublicKey)))
			}
			for i, p := range w.House.People {
				e.Setenv(fmt.Sprintf("P%d", i+1), string(p.ID))
			}
			site := httptest.NewServer(tagged(filepath.Join(e.WorkDir, "site")))
			e.Defer(site.Close)
			e.Setenv("SITE", site.URL)
			e.Setenv(advisorEnv, filepath.Join(dir, box.Program))
			e.Setenv("PIN", string(w.House.Pinned))
			e.Setenv("OTHERPIN", strings.Repeat("ab", 32))
			return nil
		}})
}

// shutIn builds the advisor's program and one that attacks in its place, and says
// whether such can be shut in here: the condition [sandbox].
func shutIn(t *testing.T) (dir string, condition func(string) (bool, error)) {
	dir = t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "../patchwrit-advisor", "../../internal/boxattack")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, missing := box.Box{Program: filepath.Join(dir, box.Program)}.Try(context.Background())
	if missing != nil {
		t.Logf("NO SANDBOX HERE: what scripts say of a model over a network is not tried: %v", missing)
	}
	return dir, func(name string) (bool, error) {
		if name != "sandbox" {
			return false, fmt.Errorf("there is no condition %q", name)
		}
		return missing == nil, nil
	}
}

// exitcode runs a command and wants exactly this exit code: exitcode 5 patchwrit …
func exitcode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// tagged serves a directory with ETags of the contents: dates of files have whole
// seconds, and scripts are faster.
func tagged(dir string) http.Handler {
	files := http.FileServer(http.Dir(dir))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(r.URL.Path))); err == nil {
			w.Header().Set("ETag", `"`+string(canon.SumFile(b))+`"`)
		}
		files.ServeHTTP(w, r)
	})
}

// siteConf makes NAME.conf of NAME.in, with the address of the site in it.
func siteConf(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		text := strings.ReplaceAll(ts.ReadFile(name+".in"), "SITE", ts.Getenv("SITE"))
		ts.Check(os.WriteFile(ts.MkAbs(name+".conf"), []byte(text), 0o600))
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: site NAME…")
	}
}

// sshKey makes an OpenSSH key pair: sshkey NAME…
func sshKey(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Check(newKey(ts.MkAbs(name)))
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: sshkey NAME…")
	}
}

// pack signs a directory of rules as policy sign does, whatever they say: another
// program can. pack KEY DIR BUNDLE, and the key is made when it is not there.
func pack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pack KEY DIR BUNDLE")
	}
	key, err := policyKeyAt(ts.MkAbs(args[0]))
	ts.Check(err)
	public, err := rego.PublicPEM(&key.PublicKey)
	ts.Check(err)
	bundle, err := rego.Sign(os.DirFS(ts.MkAbs(args[1])), key)
	ts.Check(errors.Join(err, os.WriteFile(ts.MkAbs(args[0])+".pem", []byte(public), 0o600), os.WriteFile(ts.MkAbs(args[2]), bundle, 0o600)))
}

// writeAnswer writes what an adviser would send about request.json: answer FILE
// ACTION NARRATIVE KIND:ABOUT[=VALUE]… Each claim is the dossier's first fact of
// that kind, quoted, with another value where one is given; the action is because
// of the first.
func writeAnswer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: answer FILE ACTION NARRATIVE CLAIM…")
	}
	d, err := advice.ReadRequest([]byte(strings.TrimSuffix(ts.ReadFile("request.json"), "\n")))
	ts.Check(err)
	a := advice.Answer{Dossier: d.Digest(), Narrative: args[2], Proposal: advice.Proposal{Action: args[1]}}
	for n, what := range args[3:] {
		what, value, other := strings.Cut(what, "=")
		kind, about, _ := strings.Cut(what, ":")
		for _, e := range d.Evidence {
			for i, f := range e.Facts {
				if string(f.Kind) == kind && f.About == about && len(a.Claims) == n {
					a.Claims = append(a.Claims, advicetest.True(e, i))
				}
			}
		}
		if len(a.Claims) != n+1 {
			ts.Fatalf("no fact is a %s", what)
		}
		a.Claims[n].ID = fmt.Sprintf("c%d", n+1)
		if other {
			a.Claims[n].Value = value
		}
	}
	if a.Abstain = a.Proposal.Action == "abstain"; a.Abstain {
		a.Proposal.Action = advice.Keep
	} else if a.Proposal.Action != advice.Keep {
		a.Proposal.Because = []string{"c1"}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), advicetest.Write(a), 0o600))
}

// provider puts a simulated provider behind a model file, with a key beside it:
// provider MODEL.json PROVIDER TEXTFILE. Where there is no such file it answers
// with status 404.
func provider(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: provider MODEL.json PROVIDER TEXTFILE")
	}
	p := dialect.Provider(args[1])
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(ts.MkAbs(args[2]))
		if err != nil || r.Header.Get("Authorization") != "Bearer "+advisortest.Secret {
			http.Error(w, `{"error":{"message":"`+advicetest.Canary+`"}}`, http.StatusNotFound)
			return
		}
		w.Write(advisortest.Reply(p, string(text)))
	}))
	ts.Defer(s.Close)
	m := advisortest.Model(p, s.URL)
	ts.Check(os.WriteFile(ts.MkAbs("key"), []byte(advisortest.Secret+"\n"), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), fmt.Appendf(nil, `{"type":%q,"provider":%q,"name":%q,"endpoint":%q,"key_file":"key"}`+"\n", m.Type, p, m.Name, m.Endpoint), 0o600))
}
