package page

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

// envShots names a folder for screenshots, for people to look at.
const envShots = "PATCHWRIT_SHOTS"

// browser is one tab of a headless Chromium with a virtual authenticator.
type browser struct {
	context.Context
	authenticator webauthn.AuthenticatorID
}

func chromium(t *testing.T) browser {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: starts Chromium, half a minute")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed (Debian: chromium): the page is not tested in a real browser here")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.WindowSize(1180, 1000))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	_, err = chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{})
	must(t, err)
	made, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportUsb,
		HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	must(t, err)
	return browser{ctx, made.AuthenticatorID}
}

// press opens the address and answers with the keyboard alone.
func (b browser) press(selector string) func(string) {
	return func(address string) {
		go func() {
			_ = chromedp.Do(b, chromedp.Navigate(address), chromedp.Focus(chromedp.CSS(selector)), chromedp.KeyEvent("\r"))
		}() // Approve and Register report what came of it
	}
}

// refused opens the address, presses the button and reads what the page says
// then; afterwards it ends the wait.
func (b browser) refused(selector string, said *string, end func()) func(string) {
	return func(address string) {
		go func() {
			defer end()
			if chromedp.Do(b, chromedp.Navigate(address), chromedp.Click(chromedp.CSS(selector)), chromedp.WaitVisible(chromedp.CSS("#status.failed"))) == nil {
				*said, _ = chromedp.Run(b, chromedp.Text(chromedp.CSS("#status")))
			}
		}()
	}
}

// shoot keeps a picture of the page under name, light or dark, wide or narrow.
func (b browser) shoot(t *testing.T, name, scheme string, width int64) {
	t.Helper()
	dir := os.Getenv(envShots)
	if dir == "" {
		return
	}
	_, err := chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	must(t, err)
	must(t, chromedp.Do(b, chromedp.EmulateViewport(width, 1000)))
	for suffix, shot := range map[string]chromedp.Action[[]byte]{"": chromedp.CaptureScreenshot(), "-whole": chromedp.FullScreenshot(100)} {
		picture, err := chromedp.Run(b, shot)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name+suffix+".png"), picture, 0o600))
	}
}

// registered makes a credential on the page and a house whose roster holds it.
func (b browser) registered(t *testing.T, port int) (trusttest.House, Passkey) {
	t.Helper()
	made, err := Register(t.Context(), Registering{Person: "p-001", Port: port, Open: b.press("[data-register]")})
	must(t, err)
	if c := made.Credential; c.RelyingParty != "localhost" || !c.Independent() || made.Handle == "" || !strings.HasPrefix(c.Public, "04") {
		t.Fatalf("%+v", made)
	}
	path := filepath.Join(t.TempDir(), "passkeys.json")
	must(t, Keep(path, made))
	kept, err := Kept(path)
	must(t, err)
	h := house(made.Credential) // trust.Load judges the credential too
	passkey, err := Choose(h.Root, "p-001", kept)
	must(t, err)
	return h, passkey
}

func TestARealBrowser(t *testing.T) {
	b := chromium(t)
	h, passkey := b.registered(t, free(t))
	t.Run("approves", func(t *testing.T) { b.approves(t, h, passkey) })
	t.Run("what people see", b.shows)
	t.Run("bad authenticators", func(t *testing.T) { b.doubts(t, h, passkey) }) // the last: it breaks the authenticator
}

// approves: Chromium with a virtual authenticator
// makes a credential on the page, the keepers add it to the roster, and the same
// browser approves a plan, denies it, and closes the page. What comes out passes
// Check for its own plan only.
func (b browser) approves(t *testing.T, h trusttest.House, passkey Passkey) {
	header, branches := newPlan(t, h, "Two CVEs in libcurl, one of them exploited.")
	subject, err := OfPlan(h.Root, header, branches)
	must(t, err)
	options := Options{Root: h.Root, Subject: subject, Kinds: []approval.Kind{approval.Approve, approval.Deny}, Person: "p-001", Passkey: passkey}

	options.Open = b.press("[data-kind=approve]")
	yes, err := Approve(t.Context(), options)
	must(t, err)
	s := approval.Statement{Kind: approval.Approve, Bytes: header.Bytes()}
	if _, c, err := approval.Check(h.Root, s, yes); err != nil || c.ID != passkey.Credential.ID {
		t.Errorf("the browser's approval: %v", err)
	}
	other, _ := newPlan(t, h, "Another plan.")
	swapped := approval.Statement{Kind: approval.Approve, Bytes: other.Bytes()}
	forged := yes
	forged.Statement = swapped.Digest()
	if _, _, err := approval.Check(h.Root, swapped, forged); refusal.CodeOf(err) != "PW-APPROVAL-CHALLENGE" {
		t.Errorf("it passes for another plan: %v", err)
	}

	options.Open = b.press("[data-kind=deny]")
	no, err := Approve(t.Context(), options)
	if err != nil || no.Kind != approval.Deny {
		t.Errorf("denied, and got %s, %v", no.Kind, err)
	}
	options.Open = b.press("[data-close]")
	if _, err := Approve(t.Context(), options); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// doubts: one that verifies nobody makes no
// credential; one that answers without verification, touch or a right signature
// is told so on the page, and the page stays open.
func (b browser) doubts(t *testing.T, h trusttest.House, passkey Passkey) {
	yes := true
	header, branches := newPlan(t, h, "")
	subject, err := OfPlan(h.Root, header, branches)
	must(t, err)
	for code, bits := range map[string]webauthn.SetResponseOverrideBitsParams{
		"PW-APPROVAL-VERIFICATION": {IsBadUV: &yes}, "PW-APPROVAL-PRESENCE": {IsBadUP: &yes}, "PW-APPROVAL-SIGNATURE": {IsBogusSignature: &yes},
	} {
		bits.AuthenticatorID = b.authenticator
		_, err := chromedp.Call(b, webauthn.SetResponseOverrideBits, bits)
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		var said string
		_, err = Approve(ctx, Options{Root: h.Root, Subject: subject, Kinds: []approval.Kind{approval.Approve}, Person: "p-001", Passkey: passkey,
			Open: b.refused("[data-kind=approve]", &said, cancel)})
		if !errors.Is(err, context.Canceled) || !strings.Contains(said, code) {
			t.Errorf("%s: %v; the page says %q", code, err, said)
		}
		cancel()
	}
	_, err = chromedp.Call(b, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: b.authenticator, IsUserVerified: false})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var said string
	_, err = Register(ctx, Registering{Person: "p-001", Port: free(t), Open: b.refused("[data-register]", &said, cancel)})
	if !errors.Is(err, context.Canceled) || !strings.Contains(said, "Nothing was signed") {
		t.Errorf("verifies nobody: %v; the page says %q", err, said)
	}
}

// shows takes the pictures and looks at what a browser makes of the
// page: nothing overflows, hostile text stays text, nothing is fetched from
// elsewhere, and the browser's console stays silent.
func (b browser) shows(t *testing.T) {
	h := house()
	header, branches := newPlan(t, h, "Two CVEs in libcurl.\n<script>document.title='owned'</script> \u202egnp.exe")
	g, halt := grantAndHalt(h)
	plan, err := OfPlan(h.Root, header, branches)
	must(t, err)
	grant, err := OfGrant(h.Root, g)
	must(t, err)
	stop, err := OfHalt(h.Root, halt)
	must(t, err)
	explained := asking(h, plan)
	explained.Explain = []Note{{Heading: "Why now", Lines: []string{"CVE-2026-1234 in libcurl4 is known to be exploited.", "Deadline of the house: 7 January."}}}
	for name, a := range map[string]asker{
		"plan": explained, "grant": asking(h, grant), "halt": asking(h, stop),
		"register": &registering{Registering: Registering{Person: "p-001"}, nonce: random(), user: random()},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			done, address := make(chan error, 1), make(chan string, 1)
			go func() { done <- serve(ctx, free(t), func(s string) { address <- s }, a) }()
			listening, deaf := context.WithCancel(b.Context)
			console := chromedp.Console(listening)
			must(t, chromedp.Do(b, chromedp.Navigate(<-address), chromedp.WaitVisible(chromedp.CSS("#ask"))))
			title, err := chromedp.Run(b, chromedp.Title())
			if err != nil || !strings.HasSuffix(title, "· Patchwrit") {
				t.Errorf("title %q, %v", title, err)
			}
			for _, width := range []int64{1180, 390} {
				must(t, chromedp.Do(b, chromedp.EmulateViewport(width, 900)))
				if wide, err := chromedp.Run(b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > document.documentElement.clientWidth`)); err != nil || wide {
					t.Errorf("at %d pixels it overflows %v, %v", width, wide, err)
				}
			}
			asked, err := chromedp.Run(b, chromedp.Evaluate[[]string](`performance.getEntriesByType("resource").map(e => e.name)`))
			must(t, err)
			for _, path := range asked {
				if !strings.HasSuffix(path, "/page.js") && !strings.HasSuffix(path, "/page.css") {
					t.Errorf("the page fetched %s", path)
				}
			}
			b.shoot(t, name+"-light", "light", 1180)
			b.shoot(t, name+"-dark", "dark", 1180)
			b.shoot(t, name+"-phone", "light", 390)
			must(t, chromedp.Do(b, chromedp.Navigate("about:blank")))
			deaf()
			for m, err := range console {
				if err != nil {
					break
				}
				t.Errorf("the browser's console says: %s", m)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}
