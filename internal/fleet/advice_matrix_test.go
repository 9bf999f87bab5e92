package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/advisortest"
)

// whileAsked is the point at which the provider has the question and has not
// answered. The provider is this process, so it stops by itself.
const whileAsked = "while-asked"

// provider answers as a simulated model that wants people to look, and is a fault
// point. With it comes the model file that names it.
func provider(t *testing.T, x *faults, dir string) (s *advisortest.Stub, file string) {
	t.Helper()
	s = advisortest.NewStub(t, func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Messages []struct{ Content string } }
		asked := s.Asked() // nobody asks twice at a time
		if err := json.Unmarshal(asked[len(asked)-1].Body, &q); err != nil || len(q.Messages) != 2 {
			http.Error(w, fmt.Sprintf("no question: %v", err), http.StatusBadRequest)
			return
		}
		x.stop(r.Context(), whileAsked)
		h := advicetest.Simulated(advice.Hold)(r.Context(), []byte(q.Messages[1].Content))
		w.Write(advisortest.Reply(dialect.Ollama, string(h.Answer)))
	})
	file = filepath.Join(dir, "model.json")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `{"type":%q,"provider":"ollama","name":%q,"endpoint":%q}`, dialect.TypeModel, advisortest.Name, s.URL), 0o600))
	return s, file
}

// TestCrashMatrixOfAdvice kills the control plane at each step of an asking, with
// the sandboxed adviser as it is shipped: the plan goes on, each death costs one
// more asking at most, and what was said counts once.
func TestCrashMatrixOfAdvice(t *testing.T) {
	if os.Getenv("PATCHWRIT_E2E") == "" || os.Getenv("PATCHWRIT_LONG") == "" {
		t.Skip("PATCHWRIT_E2E and PATCHWRIT_LONG are not both set (make test-fleet): real Debian roots, network namespaces, real processes, minutes")
	}
	dir := t.TempDir()
	root, err := moduleRoot()
	must(t, err)
	overlay, err := faultOverlay(root, dir, adviceFaults)
	must(t, err)
	x := &faults{dirs: []string{filepath.Join(dir, "faults")}}
	must(t, os.Mkdir(x.dirs[0], 0o777))
	bin := programs(t, filepath.Join(dir, "bin"), overlay)
	must(t, build(t.Context(), filepath.Join(bin, "patchwrit-advisor"), "github.com/patchwrit/patchwrit/cmd/patchwrit-advisor"))
	model, file := provider(t, x, dir)
	w := newTown(t, Options{Bin: bin, Hosts: []Host{{Name: struck, Domain: "rack-1", Role: "web"}, {Name: "web-2", Domain: "rack-2", Role: "web"}}, Env: []string{FaultsEnv + "=" + x.dirs[0]},
		Up: []string{"--plan-every", "1s", "--poll-every", "1s", "--settle", "1s", "--model", file, "--advice-wait", "10m"}}, Fix("pw-tool", "1.0-1", "", nil))
	w.granted("pw-tool")
	must(t, x.arm())
	must(t, w.vendor.Offer(Fix("pw-tool", "1.1-1", "CVE-2026-1001", nil)))
	ctx, stop := context.WithTimeout(t.Context(), roundTime)
	defer stop()
	at := w.strikeAll(ctx, x, victims[0], len(adviceFaults)+1)
	must(t, x.disarm())
	if want := []string{whileAsked, "before-kept", "after-kept", "after-advice"}; !slices.Equal(at, want) {
		t.Fatalf("the control plane died at %v, want %v", at, want)
	}
	p := w.finished("pw-tool")
	if n := len(model.Asked()); n != 4 { // once, and once for each death before the event was written
		t.Errorf("the provider was asked %d times", n)
	}
	w.advisedOnce(p)
	if got := w.versions("pw-tool"); got != "1.1-1 1.1-1" || len(w.receiptsOf(p)) != 2 {
		t.Errorf("dpkg says %s; %d receipts", got, len(w.receiptsOf(p)))
	}
	w.allLogged()
}

// finished has people say yes when they are asked, until the plan for a package has
// finished.
func (w *town) finished(name string) (p control.Plan) {
	w.t.Helper()
	said := false
	must(w.t, w.Wait(w.t.Context(), "the plan has finished", roundTime, func() (bool, error) {
		plans, err := w.PlansNow(w.t.Context())
		if err != nil || len(plans) != 1 || !slices.Contains(plans[0].Packages, name) {
			return false, fmt.Errorf("%d plans, one for %s was expected: %w", len(plans), name, err)
		}
		if p = plans[0]; p.State == control.Review && !said {
			said = true
			return false, w.Approve(w.t.Context(), string(p.Digest), "ann", "bob")
		}
		return p.State == control.Finished, w.allAlive()
	}))
	return p
}

// advisedOnce wants one exchange of a plan: its answer whole, its event in the ledger
// once, and one asking in the figures.
func (w *town) advisedOnce(p control.Plan) {
	w.t.Helper()
	var views []control.AdviceView
	must(w.t, w.Get(w.t.Context(), "plans/"+string(p.Digest)+"/advice", &views))
	if len(views) != 1 || views[0].Exchange.Outcome != advice.Answered || views[0].Report == nil || views[0].Effect == control.EffectLate {
		w.t.Fatalf("%+v", views)
	}
	var figures control.Figures
	must(w.t, w.Get(w.t.Context(), "figures", &figures))
	var events []control.Logged
	must(w.t, w.Get(w.t.Context(), "ledger", &events))
	if events = slices.DeleteFunc(events, func(e control.Logged) bool { return e.Kind != "advice" }); figures.Asked != 1 || len(events) != 1 {
		w.t.Errorf("%d askings in the figures, %d events of advice in the ledger", figures.Asked, len(events))
	}
	w.t.Logf("the advice was %s; the plan then had %d answers", views[0].Effect, len(p.Answers))
}
