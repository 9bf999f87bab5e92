package control_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/post"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/advisortest"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// locked is a buffer that many write into.
type locked struct {
	sync.Mutex
	b bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.Lock()
	defer l.Unlock()
	return l.b.String()
}

// TestSecretsGoNowhere plants secrets in inventory, in what people type, in the
// configuration and in keys, has a real provider asked whose model means harm and
// sends the key back, and looks for each of them in every byte of what was sent,
// logged, counted, exported and handed to auditors, as it is and encoded.
func TestSecretsGoNowhere(t *testing.T) {
	t.Parallel()
	planted := map[string]string{"description": "CANARY-of-a-description", "host name": "CANARY-of-a-host-name", "label": "canary-of-a-label",
		"plan's note": "CANARY-of-a-plans-note", "ticket": "CANARY-of-a-ticket", "model's key": "CANARY-of-a-models-key"}
	w := newTown(t, controltest.Options{Hosts: 1, Labels: []trust.Label{{Key: "ticket", Value: planted["label"]}}})
	key := w.World.House.Log.SKey
	planted["log's key"] = strings.SplitN(key, "+", 5)[4] // PRIVATE+KEY+name+hash+base64, which may hold a plus itself
	bus := w.model(planted["model's key"])
	logs := new(locked)
	w.logged, w.advise, w.Note = logs, bus.Ask, planted["plan's note"]
	w.start()
	secret, err := w.control.NewToken(t.Context(), time.Hour)
	w.must(err)
	planted["enrolment token"] = hex.EncodeToString(secret)
	h := w.Host(0, hello)
	h.Name, h.Prose = planted["host name"], planted["description"]
	w.must(w.control.Enrol(t.Context(), secret, control.Host{Wire: h.Wire, ID: h.Known.ID, Public: h.Known.Public, Name: canon.NoteOf(h.Name)}))
	_, err = h.Hello(t.Context(), w.control.Handle)
	w.must(err)
	w.Allow() // the plan is a person's
	w.hosts = append(w.hosts, h)
	w.must(h.Report(t.Context(), w.control.Handle))
	_, err = call[struct{}](w, "POST", "hosts/"+string(h.Known.ID)+"/triaged", control.Triage{By: "alice", Note: canon.NoteOf(planted["ticket"])})
	w.must(err)
	f := w.Plan(h)
	w.propose(f)
	d := controltest.Digest(f)
	v := w.advised(d)
	w.say(w.plan(d), approval.Approve, 0, 1)
	w.work(d, control.Finished)
	if v.Exchange.Outcome != advice.Failed || v.Exchange.Sent == "" || v.Exchange.Received == "" {
		t.Fatalf("%+v", v.Exchange)
	}
	w.grep(planted, map[string]string{
		// What people and hosts call things is what the ledger is for. It is not sent.
		"host name": "ledger log", "label": "ledger", "plan's note": "ledger evidence", "ticket": "ledger"}, map[string]string{
		"request": string(w.bytes("plans/" + string(d) + "/request")), "sent": string(w.bytes("plans/" + string(d) + "/advice/sent")),
		"received": string(w.bytes("plans/" + string(d) + "/advice/received")), "advice": string(w.bytes("plans/" + string(d) + "/advice")),
		"log": logs.String(), "ledger": w.exported(), "evidence": string(w.bytes("evidence/" + string(d))),
		"trouble": string(w.bytes("trouble")), "metrics": w.metrics()})
}

// grep looks for each secret in each text but those where it may be.
func (w *town) grep(planted, may, texts map[string]string) {
	w.t.Helper()
	for what, secret := range planted {
		if len(secret) < 12 {
			w.t.Fatalf("the %s is %q, which chance writes anywhere", what, secret)
		}
		for where, text := range texts {
			for form, hidden := range forms(secret) {
				if strings.Contains(text, hidden) && !strings.Contains(may[what], where) {
					w.t.Errorf("the %s is in the %s, %s", what, where, form)
				}
			}
		}
	}
	for where, text := range texts {
		if len(text) < 60 {
			w.t.Errorf("the %s is %q", where, text)
		}
	}
}

// forms are a secret as it is and as usual encodings hide it: in base64, at each place
// where it may begin among three bytes.
func forms(secret string) map[string]string {
	out := map[string]string{"as it is": secret, "in hex": hex.EncodeToString([]byte(secret)), "in upper hex": strings.ToUpper(hex.EncodeToString([]byte(secret))), "backwards": backwards(secret), "in percents": "", "in a query": url.QueryEscape(secret)}
	for i := range len(secret) {
		out["in percents"] += fmt.Sprintf("%%%02X", secret[i])
	}
	for before := range 3 {
		whole := (before + len(secret)) / 3 * 4 // what comes after the secret says the rest
		for name, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64 of URLs": base64.RawURLEncoding} {
			out[fmt.Sprint("in ", name, " after ", before)] = e.EncodeToString([]byte(strings.Repeat("x", before) + secret))[(before+2)/3*4 : whole]
		}
	}
	return out
}

func backwards(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// exported are all events with their bodies, as SIEMs and auditors get them.
func (w *town) exported() string {
	var b strings.Builder
	for _, e := range get[[]control.Logged](w, "ledger?bodies=1") {
		b.WriteString(string(canon.MustEncode(e.Entry)))
		b.Write(e.Body)
	}
	return b.String()
}

// metrics are what a monitor reads.
func (w *town) metrics() string {
	w.t.Helper()
	r, rec := prometheus.NewRegistry(), httptest.NewRecorder()
	w.must(r.Register(w.control.Metrics()))
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return rec.Body.String()
}

// propose hands in a person's plan.
func (w *town) propose(f proposal.File) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.control.API().ServeHTTP(rec, httptest.NewRequest("POST", "/v1/plans", bytes.NewReader(f.Bytes())))
	if rec.Code != http.StatusOK {
		w.t.Fatal(rec.Body.String())
	}
}

// model is a real way to a provider whose model sends back all that it was sent,
// the key included.
func (w *town) model(secret string) advisor.Adviser {
	w.t.Helper()
	stub := advisortest.NewStub(w.t, func(out http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		out.Write(advisortest.Reply(dialect.Chat, r.Header.Get("Authorization")+string(body)))
	})
	key, err := post.KeyOf("a test", secret)
	w.must(err)
	a, err := advisor.New(advisor.Config{Model: advisortest.Model(dialect.Chat, stub.URL)}, nil, post.Line{Key: key}.Send)
	w.must(err)
	return a
}
