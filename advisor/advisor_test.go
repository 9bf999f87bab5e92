package advisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/post"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/advisortest"
)

func local(p dialect.Provider, seed int64) dialect.Model {
	return dialect.Model{Type: dialect.TypeModel, Provider: p, Name: advisortest.Name, Sampling: dialect.Plain, Seed: seed}
}

func key(t *testing.T) post.Key {
	k, err := post.KeyOf("a test", advisortest.Secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Everybody keeps the one contract: each provider behind a stub that answers well,
// badly and not at all, and each that speaks to nobody.
func TestEverybodyKeepsTheContract(t *testing.T) {
	request := advisortest.Request()
	well := advicetest.Answer(advicetest.Dossier(advicetest.Material()))
	recorded := advisor.Record(local(dialect.Hostile, 1), request, advice.Heard{Outcome: advice.Answered, Answer: well, Sent: []byte("a"), Received: []byte("b")}, 1, false).Line()
	for name, c := range map[string]advisor.Config{
		"nobody":         advisor.Deterministic,
		"hostile":        {Model: local(dialect.Hostile, 3)},
		"replay":         {Model: local(dialect.Replay, 1), Recordings: "x"},
		"replay foreign": {Model: local(dialect.Replay, 2), Recordings: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			lines := recorded
			if name == "replay foreign" {
				lines = nil
			}
			a, err := advisor.New(c, lines, nil)
			if err != nil {
				t.Fatal(err)
			}
			advisortest.Contract(t, a, c.Model)
			h := a.Ask(context.Background(), request)
			if wants := map[string]advice.Outcome{"nobody": advice.Off, "replay": advice.Answered, "replay foreign": advice.Off}[name]; wants != "" && h.Outcome != wants {
				t.Errorf("%+v", h)
			}
			if name == "replay" && (!bytes.Equal(h.Answer, well) || string(h.Sent) != "a" || string(h.Received) != "b") {
				t.Errorf("%+v", h)
			}
		})
	}
	for _, p := range advisortest.Remote {
		for name, x := range map[string]struct {
			answer  func(w http.ResponseWriter)
			outcome advice.Outcome
		}{
			"well":    {func(w http.ResponseWriter) { w.Write(advisortest.Reply(p, string(well))) }, advice.Answered},
			"busy":    {func(w http.ResponseWriter) { w.WriteHeader(529) }, advice.Failed},
			"nothing": {func(w http.ResponseWriter) {}, advice.Failed},
			"gone":    {func(w http.ResponseWriter) { panic(http.ErrAbortHandler) }, advice.Failed},
			"the key": {func(w http.ResponseWriter) { w.Write(advisortest.Reply(p, advisortest.Secret)) }, advice.Failed},
		} {
			t.Run(fmt.Sprint(p, " ", name), func(t *testing.T) {
				s := advisortest.NewStub(t, func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") != "Bearer "+advisortest.Secret {
						t.Errorf("the key was not sent: %v", r.Header)
					}
					x.answer(w)
				})
				m := advisortest.Model(p, s.URL)
				a, err := advisor.New(advisor.Config{Model: m}, nil, post.Line{Key: key(t)}.Send)
				if err != nil {
					t.Fatal(err)
				}
				advisortest.Contract(t, a, m)
				if n := len(s.Asked()); n != 2 {
					t.Errorf("two requests were sent %d times", n)
				}
				call, err := dialect.Encode(m, request)
				if h := a.Ask(context.Background(), request); err != nil || h.Outcome != x.outcome || !bytes.Equal(h.Sent, call.Body) || !bytes.Equal(s.Asked()[0].Body, call.Body) {
					t.Errorf("%s %s, %v", h.Outcome, h.Why, err)
				}
			})
		}
	}
}

// A decoder that was broken into says what it likes; only what exists counts.
func TestADecodersWordHasFewForms(t *testing.T) {
	m, call, reply := advisortest.Model(dialect.Chat, "http://127.0.0.1:1"), dialect.Call{Body: []byte("sent")}, dialect.Reply{Status: 200, Body: []byte("received")}
	for name, x := range map[string]struct {
		said    dialect.Said
		outcome advice.Outcome
	}{
		"an answer":          {dialect.Said{Outcome: dialect.Answered, Answer: []byte("x")}, advice.Answered},
		"with a reason":      {dialect.Said{Outcome: dialect.Answered, Answer: []byte("x"), Why: "y"}, advice.Answered},
		"a refusal":          {dialect.Said{Outcome: dialect.Refused, Why: "y"}, advice.Refused},
		"no outcome":         {dialect.Said{Answer: []byte("x")}, advice.Failed},
		"another":            {dialect.Said{Outcome: "approved", Answer: []byte("x"), Why: "y"}, advice.Failed},
		"off":                {dialect.Said{Outcome: "off", Why: "y"}, advice.Failed},
		"no answer":          {dialect.Said{Outcome: dialect.Answered}, advice.Failed},
		"a long answer":      {dialect.Said{Outcome: dialect.Answered, Answer: make([]byte, advice.MaxAnswer+1)}, advice.Failed},
		"refusal and answer": {dialect.Said{Outcome: dialect.Refused, Why: "y", Answer: []byte("x")}, advice.Failed},
		"no reason":          {dialect.Said{Outcome: dialect.Failed}, advice.Failed},
	} {
		h := advisor.Heard(m, call, reply, x.said)
		if h.Outcome != x.outcome || (h.Answer != nil) != (x.outcome == advice.Answered) || (h.Why == "") != (x.outcome == advice.Answered) || string(h.Sent) != "sent" || string(h.Received) != "received" || h.Model != m.Digest() {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

const file = `{"type":"patchwrit/model/v1","provider":"ollama","name":"m","endpoint":"http://127.0.0.1:11434"}`

func TestModelFiles(t *testing.T) {
	for in, want := range map[string]string{
		file: `{patchwrit/model/v1 ollama m http://127.0.0.1:11434 zero 1 8192 0 120 1048576}`,
		`{"type":"patchwrit/model/v1","provider":"anthropic","name":"m","endpoint":"https://a.example","seconds":5,"max_tokens":6,"max_bytes":7000,"seed":0,"key_file":"k","ca_file":"c","proxy":"http://p:1"}`: `{patchwrit/model/v1 anthropic m https://a.example plain 0 6 0 5 7000} k c http://p:1`,
		`{"type":"patchwrit/model/v1","provider":"hostile","name":"m","seed":9}`:        `{patchwrit/model/v1 hostile m  plain 9 0 0 0 0}`,
		`{"type":"patchwrit/model/v1","provider":"replay","name":"m","recordings":"r"}`: `{patchwrit/model/v1 replay m  plain 1 0 0 0 0}   `,
	} {
		c, err := advisor.ReadConfig([]byte(in))
		if got := fmt.Sprint(c.Model, " ", c.KeyFile, " ", c.CAFile, " ", c.Proxy); err != nil || strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s:\n%s %v", in, got, err)
		}
	}
	with := func(more string) string { return file[:len(file)-1] + `,` + more + `}` }
	for name, in := range map[string]string{
		"nothing": "", "no object": "[]", "twice": with(`"name":"n"`), "more": file + "x", "a key in the file": with(`"key":"` + advisortest.Secret + `"`), "unknown": with(`"tools":[]`),
		"a fraction": with(`"seed":0.5`), "negative": with(`"seconds":-1`), "a proxy with a user": with(`"proxy":"http://u:p@p:1"`), "a proxy with a path": with(`"proxy":"http://p:1/"`),
		"a proxy of another kind": with(`"proxy":"socks5://p:1"`), "a proxy without host": with(`"proxy":"http://"`), "recordings": with(`"recordings":"r"`), "ca": with(`"ca_file":"c"`), "large": file + strings.Repeat(" ", 16<<10),
		"replay of nothing": `{"type":"patchwrit/model/v1","provider":"replay","name":"m"}`, "nobody with a key": `{"type":"patchwrit/model/v1","provider":"deterministic","name":"m","key_file":"k"}`,
		"another type": strings.Replace(file, "model/v1", "model/v2", 1), "no endpoint": `{"type":"patchwrit/model/v1","provider":"ollama","name":"m"}`, "null": strings.Replace(file, `"m"`, "null", 1),
	} {
		if _, err := advisor.ReadConfig([]byte(in)); !errors.Is(err, dialect.ErrModel) || strings.Contains(err.Error(), advisortest.Secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := advisor.New(advisor.Config{}, nil, nil); !errors.Is(err, dialect.ErrModel) {
		t.Errorf("a model of no kind: %v", err)
	}
	if err := advisor.Deterministic.Model.Check(); err != nil {
		t.Error(err)
	}
}

func TestExchangesComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.SliceOfN(rapid.Byte(), 1, 40)
		h := advice.Heard{Outcome: rapid.SampledFrom([]advice.Outcome{advice.Answered, advice.Refused, advice.Truncated, advice.Failed, advice.Off}).Draw(t, "outcome"),
			Sent: bytesOf.Draw(t, "sent"), Received: bytesOf.Draw(t, "received")}
		if h.Outcome == advice.Answered {
			h.Answer = bytesOf.Draw(t, "answer")
		} else {
			h.Why = "why"
		}
		m := local(dialect.Hostile, rapid.Int64Range(0, 1<<53-1).Draw(t, "seed"))
		h.Model = m.Digest()
		request := bytesOf.Draw(t, "request")
		x := advisor.Record(m, request, h, 12, true)
		y, again, err := advisor.ReadExchange(bytes.TrimSuffix(x.Line(), []byte("\n")))
		if err != nil || x != y || fmt.Sprint(again) != fmt.Sprint(h) {
			t.Fatalf("%v\n%+v\n%+v", err, x, y)
		}
		r, err := advisor.ReadRecordings(local(dialect.Replay, 1), append(x.Line(), x.Line()...))
		got := r.Ask(context.Background(), request)
		if h.Model = local(dialect.Replay, 1).Digest(); err != nil || fmt.Sprint(got) != fmt.Sprint(h) {
			t.Fatalf("%v %+v", err, got)
		}
		if got := r.Ask(context.Background(), append(request, 0)); got.Outcome != advice.Off || got.Answer != nil {
			t.Fatalf("a foreign request has advice: %+v", got)
		}
	})
}

// sorted writes an exchange in canonical form, also one that canon would not write.
func sorted(t *testing.T, x advisor.Exchange) []byte {
	t.Helper()
	raw, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(raw, &members); err != nil {
		t.Fatal(err)
	}
	if raw, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWhatIsNoExchange(t *testing.T) {
	good := advisor.Record(local(dialect.Hostile, 1), []byte("r"), advice.Heard{Outcome: advice.Answered, Answer: []byte("a")}, 1, false)
	if line := sorted(t, good); string(line)+"\n" != string(good.Line()) {
		t.Fatalf("%s is not how an exchange is written", line)
	}
	for name, change := range map[string]func(*advisor.Exchange){
		"type":                      func(x *advisor.Exchange) { x.Type = "x" },
		"request":                   func(x *advisor.Exchange) { x.Request = "x" },
		"outcome":                   func(x *advisor.Exchange) { x.Outcome, x.Answer, x.Why = "approved", "", "x" },
		"an answer with a reason":   func(x *advisor.Exchange) { x.Why = "x" },
		"no answer":                 func(x *advisor.Exchange) { x.Answer = "" },
		"a refusal with an answer":  func(x *advisor.Exchange) { x.Outcome, x.Why = advice.Refused, "x" },
		"no reason":                 func(x *advisor.Exchange) { x.Outcome, x.Answer = advice.Failed, "" },
		"sent is no base64":         func(x *advisor.Exchange) { x.Sent = "?" },
		"received in another form":  func(x *advisor.Exchange) { x.Received = "YR==" },
		"an answer with line feeds": func(x *advisor.Exchange) { x.Answer = "YQ\r=" },
		"too long an answer":        func(x *advisor.Exchange) { x.Answer = advisor.BlobOf(make([]byte, advice.MaxAnswer+1)) },
	} {
		x := good
		change(&x)
		for range 20 { // its three blobs are read in any order
			if _, err := advisor.ReadRecordings(local(dialect.Replay, 1), append(good.Line(), sorted(t, x)...)); !errors.Is(err, advisor.ErrExchange) {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
	for name, line := range map[string]string{"no canonical form": strings.Replace(string(good.Line()), ":", ": ", 1), "a key more": strings.Replace(string(good.Line()), "{", `{"a":1,`, 1), "no JSON": "x"} {
		if _, err := advisor.ReadRecordings(local(dialect.Replay, 1), []byte(line)); !errors.Is(err, advisor.ErrExchange) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := advisor.ReadRecordings(local(dialect.Replay, 1), append(good.Line(), good.Line()...)); err != nil {
		t.Error(err)
	}
	late := advisor.Record(local(dialect.Hostile, 1), []byte("r"), advice.Heard{Outcome: advice.Answered, Answer: []byte("late")}, 2, false)
	r, err := advisor.ReadRecordings(local(dialect.Replay, 1), append(good.Line(), late.Line()...))
	if h := r.Ask(context.Background(), []byte("r")); err != nil || string(h.Answer) != "late" {
		t.Errorf("of two the later counts: %+v %v", h, err)
	}
}

// The enemy reaches every verdict, every fate of a proposal, and everything that
// is no answer: else what holds against it would hold against little. It changes
// no byte of what is verified: each of its true claims is one of the dossier.
func TestTheEnemyTriesEverything(t *testing.T) {
	d, request := advicetest.Dossier(advicetest.Material()), advisortest.Request()
	seen := map[string]int{}
	for seed := range int64(200) {
		seen[string(advisor.Hostile{Model: local(dialect.Hostile, seed)}.Ask(context.Background(), request).Outcome)]++
	}
	for seed := range int64(600) {
		a, err := advice.ParseAnswer(advisor.Hostile{Model: local(dialect.Hostile, seed)}.Lie(d))
		if err != nil {
			seen["no answer"]++
			continue
		}
		r := advice.Verify(d, a, advicetest.Now, advice.Days14)
		if r.Foreign {
			seen["foreign"]++
			continue
		}
		if r.Abstained {
			seen["abstains"]++
		}
		for _, j := range r.Claims {
			seen[string(j.Verdict)]++
		}
		seen[fmt.Sprintf("%s %t", a.Proposal.Action, r.Proposal.Stands)]++
		if len(r.Proposal.Order) > 0 {
			seen["an order stands"]++
		}
	}
	for _, what := range []string{"answered", "refused", "truncated", "failed", "no answer", "foreign", "abstains", "verified", "contradicted", "unsupported", "out_of_scope", "malformed",
		"keep true", "hold true", "escalate true", "hold false", "escalate false", "approve false", "an order stands"} {
		if seen[what] < 1 {
			t.Errorf("%q never came up", what)
		}
	}
}

func FuzzReadConfig(f *testing.F) {
	f.Add([]byte(file))
	f.Add([]byte(`{"type":"patchwrit/model/v1","provider":"replay","name":"m","recordings":"r"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := advisor.ReadConfig(raw)
		if err == nil && c.Model.Check() != nil || err != nil && !errors.Is(err, dialect.ErrModel) {
			t.Fatalf("%v %+v", err, c)
		}
	})
}

func FuzzReadExchange(f *testing.F) {
	line := advisor.Record(local(dialect.Hostile, 1), []byte("r"), advice.Heard{Outcome: advice.Answered, Answer: []byte("a")}, 1, false).Line()
	f.Add(bytes.TrimSuffix(line, []byte("\n")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, h, err := advisor.ReadExchange(raw)
		if err == nil && (!bytes.Equal(bytes.TrimSuffix(x.Line(), []byte("\n")), raw) || (h.Outcome == advice.Answered) != (len(h.Answer) > 0)) {
			t.Fatalf("%q: %+v", raw, h)
		}
	})
}
