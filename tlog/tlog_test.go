package tlog_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/tlogtest"
)

const origin = "log.example/one"

func entry(i int) tlog.Entry {
	return tlog.NewEntry("plan", canon.SumFile(fmt.Appendf(nil, "event %d", i)), int64(1000+i))
}

// grown is a log with three witnesses, two of which are a quorum.
func grown(n int) *tlogtest.Log {
	l := tlogtest.New(origin, 3, 2)
	for i := range n {
		l.Append(entry(i))
	}
	return l
}

func policy(t testing.TB, text string) tlog.Policy {
	t.Helper()
	p, err := tlog.ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wants(t *testing.T, err error, code refusal.Code) {
	t.Helper()
	if refusal.CodeOf(err) != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestPolicySaysWhoCounts(t *testing.T) {
	l := grown(0)
	p := policy(t, "# a comment\n\n \t\n"+l.Policy("https://w1.example/a/", "http://w2.example"))
	if p.Origin() != origin {
		t.Errorf("origin %q", p.Origin())
	}
	var got []string
	for _, w := range p.Witnesses() {
		got = append(got, w.Name+" "+w.URL)
		if w.VKey != l.VKey(w.Name) {
			t.Errorf("vkey %s", w.VKey)
		}
		k, ok := p.Key(w.Name)
		if !ok || !k.Equal(l.Key(w.Name).Public()) {
			t.Errorf("key of %s: %v %x", w.Name, ok, k)
		}
	}
	want := []string{"w1.log.example/one https://w1.example/a", "w2.log.example/one http://w2.example", "w3.log.example/one http://w3.log.example/one.invalid"}
	if !slices.Equal(got, want) {
		t.Errorf("witnesses %q, want %q", got, want)
	}
	if _, ok := p.Key(origin); ok {
		t.Error("the log's key passes for a witness's")
	}
	if _, ok := p.Key("w1"); ok {
		t.Error("a name inside the policy text passes for a key's name")
	}
}

func TestPolicyRefusals(t *testing.T) {
	l := grown(0)
	good := l.Policy()
	swap := func(old, new string) string {
		t.Helper()
		s := strings.Replace(good, old, new, 1)
		if s == good {
			t.Fatalf("%q is not in the policy", old)
		}
		return s
	}
	v1, v2 := l.VKey(l.Witnesses()[0]), l.VKey(l.Witnesses()[1])
	for _, c := range []struct {
		what, text string
		code       refusal.Code
	}{
		{"untouched", good, ""},
		{"empty", "", tlog.CodePolicy},
		{"quorum none", swap("quorum all-of-them", "quorum none"), tlog.CodePolicyOpen},
		{"no quorum", swap("quorum all-of-them\n", ""), tlog.CodePolicy},
		{"two quorums", good + "quorum all-of-them\n", tlog.CodePolicy},
		{"quorum unknown", swap("quorum all-of-them", "quorum w9"), tlog.CodePolicy},
		{"no log", strings.Join(strings.SplitAfter(good, "\n")[1:], ""), tlog.CodePolicyLog},
		{"two logs", "log " + tlogtest.New("other.example", 0, 0).VKey("other.example") + "\n" + good, tlog.CodePolicyLog},
		{"log twice", strings.SplitAfter(good, "\n")[0] + good, tlog.CodePolicyKey},
		{"witness without address", swap(" http://w3.log.example/one.invalid", ""), tlog.CodePolicy},
		{"address of a file", swap("http://w3", "file://w3"), tlog.CodePolicy},
		{"witness key twice", swap(v2, v1), tlog.CodePolicyKey},
		{"two keys of one name", swap(v2, strings.Replace(v2, "w2.", "w1.", 1)), tlog.CodePolicyKey},
		{"log key as witness", swap(v2, tlogtest.VKey("w2", tlogtest.AlgWitness, l.Key(origin))), tlog.CodePolicyKey},
		{"witness key under another name", swap(v2, tlogtest.VKey("w2", tlogtest.AlgWitness, l.Key(l.Witnesses()[0]))), tlog.CodePolicyKey},
		{"key of another algorithm", swap(v2, tlogtest.VKey("w2", tlogtest.AlgLog, l.Key("w2"))), tlog.CodePolicy},
		{"another key", swap(v2, tlogtest.VKey("w2", tlogtest.AlgWitness, l.Key("w2"))), ""},
		{"wrong key hash", swap("+"+strings.Split(v1, "+")[1]+"+", "+00000000+"), tlog.CodePolicy},
		{"capitals in key hash", swap("+"+strings.Split(v1, "+")[1]+"+", "+ABCDEF00+"), tlog.CodePolicyKey},
		{"key without hash", swap(v1, "name"), tlog.CodePolicyKey},
		{"short key", swap(v1, "n+00000000+BAAA"), tlog.CodePolicyKey},
		{"name twice", swap("witness w2", "witness w1"), tlog.CodePolicy},
		{"threshold 0", swap("group all-of-them 2", "group all-of-them 0"), tlog.CodePolicy},
		{"threshold 4 of 3", swap("group all-of-them 2", "group all-of-them 4"), tlog.CodePolicy},
		{"threshold +2", swap("group all-of-them 2", "group all-of-them +2"), tlog.CodePolicy},
		{"threshold 02", swap("group all-of-them 2", "group all-of-them 02"), tlog.CodePolicy},
		{"member unknown", swap("w2 w3\n", "w2 w9\n"), tlog.CodePolicy},
		{"member twice", swap("w2 w3\n", "w2 w2 w3\n"), tlog.CodePolicyCount},
		{"member in two groups", swap("quorum all-of-them", "group g2 any w1\ngroup q all g2 all-of-them\nquorum q"), tlog.CodePolicyCount},
		{"idle witness", swap("w2 w3\n", "w2\n"), tlog.CodePolicyCount},
		{"idle group", swap("quorum all-of-them", "quorum w1"), tlog.CodePolicyCount},
		{"unknown word", good + "allow everything\n", tlog.CodePolicy},
		{"words after quorum", swap("quorum all-of-them", "quorum all-of-them w1"), tlog.CodePolicy},
		{"comment in a line", swap("quorum all-of-them", "quorum all-of-them # yes"), tlog.CodePolicy},
		{"carriage return", swap("quorum all-of-them\n", "quorum all-of-them\r\n"), tlog.CodePolicy},
		{"no ASCII", good + "# é\n", tlog.CodePolicy},
		{"too long", good + strings.Repeat("#\n", tlog.MaxPolicy/2), tlog.CodePolicy},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := tlog.ParsePolicy(c.text)
			wants(t, err, c.code)
		})
	}
}

// loosen replaces a base64 text of b by another that lenient decoders take for
// the same bytes.
func loosen(t *testing.T, in, b string) string {
	t.Helper()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	stem := strings.TrimRight(b, "=")
	if stem == b {
		t.Fatalf("%q has no free bits", b)
	}
	i := strings.IndexByte(alphabet, stem[len(stem)-1])
	other := stem[:len(stem)-1] + string(alphabet[i^1]) + b[len(stem):]
	return strings.Replace(in, b, other, 1)
}

// A policy with groups in groups: one of the first house and two of the second.
func TestQuorumTimeIsTheQuorumthNeverTheLargest(t *testing.T) {
	flat := policy(t, grown(0).Policy())
	l := tlogtest.New(origin, 5, 1)
	text := strings.Split(l.Policy(), "group ")[0] +
		"group first any w1 w2\ngroup second 2 w3 w4 w5\ngroup both all first second\nquorum both\n"
	nested := policy(t, text)
	n := l.Witnesses()
	for _, c := range []struct {
		what  string
		p     tlog.Policy
		times map[string]int64
		want  int64
		ok    bool
	}{
		{"nobody", flat, map[string]int64{}, 0, false},
		{"one of two", flat, map[string]int64{n[0]: 50}, 0, false},
		{"two: the earlier", flat, map[string]int64{n[0]: 50, n[1]: 70}, 50, true},
		{"three: the middle", flat, map[string]int64{n[0]: 50, n[1]: 70, n[2]: 1 << 50}, 70, true},
		{"at time 0", flat, map[string]int64{n[0]: 0, n[1]: 0}, 0, true},
		{"strangers count nothing", flat, map[string]int64{n[0]: 50, n[1]: 70, "x": 90, n[4]: 90, origin: 99}, 50, true},
		{"nested, a house missing", nested, map[string]int64{n[0]: 9, n[1]: 9, n[2]: 9}, 0, false},
		{"nested", nested, map[string]int64{n[0]: 1, n[1]: 40, n[2]: 30, n[3]: 20, n[4]: 90}, 30, true},
		{"no policy", tlog.Policy{}, map[string]int64{n[0]: 50, n[1]: 70}, 0, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, ok := c.p.QuorumTime(c.times)
			if got != c.want || ok != c.ok {
				t.Errorf("got %d %v, want %d %v", got, ok, c.want, c.ok)
			}
		})
	}
}

// For any times, T is the quorum-th largest: one witness cannot move it beyond
// what another says, whatever it claims.
func TestQuorumTimeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "witnesses")
		q := rapid.IntRange(1, n).Draw(t, "quorum")
		l := tlogtest.New(origin, n, q)
		p, err := tlog.ParsePolicy(l.Policy())
		if err != nil {
			t.Fatal(err)
		}
		times, all := map[string]int64{}, []int64{}
		for _, w := range l.Witnesses() {
			if rapid.Bool().Draw(t, "cosigned") {
				times[w] = rapid.Int64Range(0, 20).Draw(t, "time")
				all = append(all, times[w])
			}
		}
		slices.Sort(all)
		got, ok := p.QuorumTime(times)
		if ok != (len(all) >= q) || (ok && got != all[len(all)-q]) {
			t.Fatalf("%v quorum %d: got %d %v", all, q, got, ok)
		}
	})
}

func TestEveryEntryIsProvedInEverySize(t *testing.T) {
	const n = 20
	l := grown(n)
	p := policy(t, l.Policy())
	for size := int64(1); size <= n; size++ {
		for i := range size {
			v, err := p.Verify(entry(int(i)), l.Proof(i, size, 50, -1, 70))
			if err != nil {
				t.Fatalf("entry %d of %d: %v", i, size, err)
			}
			if v.Index != i || v.Checkpoint != l.Checkpoint(size) || v.Time != 50 || !slices.Equal(v.Witnesses, []string{"w1." + origin, "w3." + origin}) {
				t.Fatalf("entry %d of %d: %+v", i, size, v)
			}
		}
	}
}

// text gives a proof as text, to be changed and encoded again.
func text(p tlog.Proof) string {
	b, err := base64.StdEncoding.DecodeString(string(p))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func encoded(text string) tlog.Proof {
	return tlog.Proof(base64.StdEncoding.EncodeToString([]byte(text)))
}

func TestVerifyRefusals(t *testing.T) {
	l := grown(20)
	p := policy(t, l.Policy())
	good := l.Proof(7, 20, 50, 60, 70)
	plain := text(good)
	swap := func(old, new string) tlog.Proof {
		t.Helper()
		if !strings.Contains(plain, old) {
			t.Fatalf("%q is not in the proof", old)
		}
		return encoded(strings.Replace(plain, old, new, 1))
	}
	body := tlogtest.Text(l.Checkpoint(20))
	signed := func(text string) tlog.Proof { // any text, signed by all with their own keys
		s := text + "\n" + l.LogLine(text)
		for _, w := range l.Witnesses() {
			s += l.Line(w, text, 50)
		}
		return tlog.NewProof(7, l.Path(7, 20), []byte(s))
	}
	logOnly := func(text string) tlog.Proof {
		return tlog.NewProof(7, l.Path(7, 20), []byte(text+"\n"+l.LogLine(text)))
	}
	stranger := tlogtest.New("stranger.example", 3, 2)
	line1 := l.Line("w1."+origin, body, 50)
	forged := strings.Replace(line1, line1[:len(line1)-20], l.Line("w1."+origin, body, 51)[:len(line1)-20], 1)
	logLine := l.LogLine(body)
	for _, c := range []struct {
		what  string
		entry tlog.Entry
		proof tlog.Proof
		code  refusal.Code
	}{
		{"untouched", entry(7), good, ""},
		{"signed by our own hand, untouched", entry(7), signed(body), ""},
		{"another entry", entry(8), good, tlog.CodeInclusion},
		{"another index", entry(7), swap("index 7\n", "index 8\n"), tlog.CodeInclusion},
		{"index beyond the size", entry(7), swap("index 7\n", "index 20\n"), tlog.CodeInclusion},
		{"negative index", entry(7), swap("index 7\n", "index -1\n"), tlog.CodeInclusion},
		{"a hash less", entry(7), tlog.NewProof(7, l.Path(7, 20)[1:], l.Signed(20, 50, 60, 70)), tlog.CodeInclusion},
		{"a hash more", entry(7), tlog.NewProof(7, append(l.Path(7, 20), canon.SumFile(nil)), l.Signed(20, 50, 60, 70)), tlog.CodeInclusion},
		{"path of another size", entry(7), tlog.NewProof(7, l.Path(7, 19), l.Signed(20, 50, 60, 70)), tlog.CodeInclusion},
		{"entry without type", tlog.Entry{Kind: "plan", Subject: entry(7).Subject, At: 1007}, good, tlog.CodeEntry},
		{"entry without kind", tlog.NewEntry("", entry(7).Subject, 1007), good, tlog.CodeEntry},
		{"entry of a long kind", tlog.NewEntry(strings.Repeat("x", 33), entry(7).Subject, 1007), good, tlog.CodeEntry},
		{"entry without subject", tlog.NewEntry("plan", "", 1007), good, tlog.CodeEntry},
		{"entry before time", tlog.NewEntry("plan", entry(7).Subject, -1), good, tlog.CodeEntry},
		{"empty", entry(7), "", tlog.CodeProof},
		{"another header", entry(7), swap("@v1", "@v2"), tlog.CodeProof},
		{"extra data", entry(7), swap("index 7", "extra AAAA\nindex 7"), tlog.CodeProof},
		{"leading zero", entry(7), swap("index 7", "index 07"), tlog.CodeProof},
		{"no index", entry(7), swap("index 7\n", ""), tlog.CodeProof},
		{"a hash that is none", entry(7), swap("index 7\n", "index 7\nAAAA\n"), tlog.CodeProof},
		{"line break in base64", entry(7), good[:40] + "\n" + good[40:], tlog.CodeProof},
		{"no base64", entry(7), "!" + good, tlog.CodeProof},
		{"too long", entry(7), tlog.NewProof(7, make([]canon.Digest, 1000), l.Signed(20, 50, 60, 70)), tlog.CodeProof},
		{"another log", entry(7), swap(origin+"\n20\n", "other.example\n20\n"), tlog.CodeOrigin},
		{"size changed", entry(7), swap("\n20\n", "\n21\n"), tlog.CodeSignature},
		{"log's signature missing", entry(7), swap(logLine, ""), tlog.CodeSignature},
		{"log's signature of other text", entry(7), swap(logLine, l.LogLine("x")), tlog.CodeSignature},
		{"no signature", entry(7), encoded(plain[:strings.Index(plain, logLine)]), tlog.CodeCheckpoint},
		{"no known signature", entry(7), tlog.NewProof(7, l.Path(7, 20), []byte(body+"\n"+stranger.LogLine(body))), tlog.CodeSignature},
		{"cosignature forged", entry(7), swap(line1, forged), tlog.CodeCosignature},
		{"cosignature twice", entry(7), swap(line1, line1+line1), tlog.CodeCosignature},
		{"cosignature by a stranger", entry(7), swap(line1, line1+stranger.Line("w1.stranger.example", body, 50)), tlog.CodeCosignature},
		{"cosignature beyond the calendar", entry(7), swap(line1, l.Line("w1."+origin, body, canon.MaxInt+1)), tlog.CodeCosignature},
		{"cosignature in other base64", entry(7), encoded(loosen(t, plain, strings.TrimSpace(line1)[len("\u2014 w1."+origin+" "):])), tlog.CodeCheckpoint},
		{"too few cosignatures", entry(7), l.Proof(7, 20, 50, -1, -1), tlog.CodeQuorum},
		{"no cosignature", entry(7), l.Proof(7, 20), tlog.CodeQuorum},
		{"extension line", entry(7), signed(body + "more\n"), tlog.CodeCheckpoint},
		{"size with a leading zero", entry(7), logOnly(strings.Replace(body, "\n20\n", "\n020\n", 1)), tlog.CodeCheckpoint},
		{"size beyond the calendar", entry(7), signed(strings.Replace(body, "\n20\n", "\n9007199254740992\n", 1)), tlog.CodeCheckpoint},
		{"root in other base64", entry(7), logOnly(loosen(t, body, strings.Split(body, "\n")[2])), tlog.CodeCheckpoint},
	} {
		t.Run(c.what, func(t *testing.T) {
			v, err := p.Verify(c.entry, c.proof)
			wants(t, err, c.code)
			if err != nil && (v.Checkpoint != tlog.Checkpoint{} || v.Index != 0 || v.Witnesses != nil) {
				t.Errorf("a refusal came with %+v", v)
			}
		})
	}
	t.Run("no policy", func(t *testing.T) {
		_, err := tlog.Policy{}.Verify(entry(7), good)
		wants(t, err, tlog.CodeOrigin)
		_, err = tlog.Policy{}.Checkpoint([]byte("\n20\nhash\n\n" + logLine))
		wants(t, err, tlog.CodeSignature)
	})
	t.Run("checkpoint longer than allowed", func(t *testing.T) {
		long := strings.Repeat("x", tlog.MaxCheckpoint)
		_, err := p.Checkpoint(append(l.Signed(20, 50, 60, 70), strings.Repeat("\u2014 "+long+" AAAAAAAA\n", 1)...))
		wants(t, err, tlog.CodeCheckpoint)
	})
}

func TestSignedLooksAtTheLogOnly(t *testing.T) {
	l := grown(20)
	p := policy(t, l.Policy())
	c, n, err := p.Signed(l.Signed(20))
	if err != nil || c != l.Checkpoint(20) || n.Text != tlogtest.Text(c) {
		t.Fatalf("%+v %+v %v", c, n, err)
	}
	txt := n.Text
	stranger := tlogtest.New("stranger.example", 1, 1)
	if _, _, err = p.Signed(append(l.Signed(20), stranger.Line("w1.stranger.example", txt, 5)...)); err != nil {
		t.Errorf("a stranger's cosignature disturbs a witness: %v", err)
	}
	_, _, err = p.Signed([]byte(txt + "\n" + l.Line("w1."+origin, txt, 5)))
	wants(t, err, tlog.CodeSignature)
	_, _, err = p.Signed(stranger.Signed(0))
	wants(t, err, tlog.CodeOrigin)
}

func TestConsistencyHoldsBetweenAllSizes(t *testing.T) {
	const n = 20
	l := grown(n)
	for newer := int64(0); newer <= n; newer++ {
		for older := range newer + 1 {
			if err := tlog.Consistent(l.Checkpoint(older), l.Checkpoint(newer), l.Consistency(older, newer)); err != nil {
				t.Errorf("%d to %d: %v", older, newer, err)
			}
		}
		if err := tlog.Consistent(tlog.Checkpoint{}, l.Checkpoint(newer), nil); err != nil {
			t.Errorf("nothing seen to %d: %v", newer, err)
		}
	}
}

func TestConsistencyRefusals(t *testing.T) {
	l := grown(12)
	fork := l.Fork()
	for i := range 8 {
		l.Append(entry(12 + i))
		fork.Append(entry(100 + i))
	}
	at := l.Checkpoint
	other := func(c tlog.Checkpoint) tlog.Checkpoint { c.Origin = "other.example"; return c }
	none := []canon.Digest{}
	for _, c := range []struct {
		what         string
		older, newer tlog.Checkpoint
		proof        []canon.Digest
		code         refusal.Code
	}{
		{"grown", at(14), at(20), l.Consistency(14, 20), ""},
		{"common past", at(12), fork.Checkpoint(20), fork.Consistency(12, 20), ""},
		{"equal", at(20), at(20), none, ""},
		{"smaller", at(20), at(14), l.Consistency(14, 20), tlog.CodeBackwards},
		{"same size, other content", at(20), fork.Checkpoint(20), none, tlog.CodeFork},
		{"fork", at(14), fork.Checkpoint(20), fork.Consistency(14, 20), tlog.CodeConsistency},
		{"no proof", at(14), at(20), none, tlog.CodeConsistency},
		{"proof for another size", at(14), at(20), l.Consistency(13, 20), tlog.CodeConsistency},
		{"a hash more", at(14), at(20), append(l.Consistency(14, 20), canon.SumFile(nil)), tlog.CodeConsistency},
		{"a hash that is none", at(14), at(20), append([]canon.Digest{"x"}, l.Consistency(14, 20)[1:]...), tlog.CodeConsistency},
		{"proof where none is needed", at(20), at(20), l.Consistency(14, 20), tlog.CodeConsistency},
		{"proof from nothing", tlog.Checkpoint{}, at(20), l.Consistency(14, 20), tlog.CodeConsistency},
		{"another log", other(at(14)), at(20), l.Consistency(14, 20), tlog.CodeOrigin},
		{"another log, which was empty", other(at(0)), at(20), none, tlog.CodeOrigin},
	} {
		t.Run(c.what, func(t *testing.T) {
			wants(t, tlog.Consistent(c.older, c.newer, c.proof), c.code)
		})
	}
}

// Whatever byte of a proof is changed to whatever, it is refused.
func TestEveryByteOfAProofCounts(t *testing.T) {
	l := grown(20)
	p := policy(t, l.Policy())
	good := l.Proof(7, 20, 50, 60, 70)
	plain := text(good)
	for i := range plain {
		b := []byte(plain)
		b[i] ^= 1 << (i % 8) // the other bits are for rapid, below
		if v, err := p.Verify(entry(7), encoded(string(b))); err == nil {
			t.Fatalf("byte %d (%q to %q): %+v", i, plain[i], b[i], v)
		}
		b = []byte(plain)
		if v, err := p.Verify(entry(7), encoded(string(append(b[:i], b[i+1:]...)))); err == nil {
			t.Fatalf("without byte %d (%q): %+v", i, plain[i], v)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		for _, whole := range []string{plain, string(good)} {
			b := []byte(whole)
			i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
			b[i] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
			for _, proof := range []tlog.Proof{tlog.Proof(b), encoded(string(b))} {
				if v, err := p.Verify(entry(7), proof); err == nil {
					t.Fatalf("byte %d: %+v", i, v)
				}
			}
		}
	})
}

func FuzzProof(f *testing.F) {
	l := grown(20)
	p := policy(f, l.Policy())
	f.Add(text(l.Proof(7, 20, 50, 60, 70)))
	f.Add(text(l.Proof(0, 1, 50, 60)))
	f.Add(text(l.Proof(19, 20)))
	f.Add("c2sp.org/tlog-proof@v1\nextra AAAA\nindex 0\n\n")
	genuine := []tlog.Proof{}
	for size := int64(8); size <= 20; size++ {
		genuine = append(genuine, l.Proof(7, size, 50, 60, 70))
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, proof := range []tlog.Proof{tlog.Proof(s), encoded(s)} {
			v, err := p.Verify(entry(7), proof)
			if err == nil && (v.Index != 7 || v.Checkpoint != l.Checkpoint(v.Checkpoint.Size) || v.Time > 70) {
				t.Fatalf("%+v, which the log never proved", v)
			}
			if err != nil && refusal.CodeOf(err) == "" {
				t.Fatalf("no code: %v", err)
			}
			if err != nil && slices.Contains(genuine, proof) {
				t.Fatalf("a genuine proof is refused: %v", err)
			}
		}
	})
}

func FuzzPolicy(f *testing.F) {
	l := grown(0)
	f.Add(l.Policy())
	f.Add(strings.Replace(l.Policy(), "quorum all-of-them", "quorum none", 1))
	f.Add("log x\nwitness w1 y http://z\ngroup g any w1\nquorum g\n")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := tlog.ParsePolicy(s)
		if err != nil {
			if refusal.CodeOf(err) == "" {
				t.Fatalf("no code: %v", err)
			}
			return
		}
		if _, ok := p.QuorumTime(map[string]int64{}); ok || p.Origin() == "" {
			t.Fatal("a policy that nobody at all satisfies was accepted")
		}
		all := map[string]int64{}
		for _, w := range p.Witnesses() {
			all[w.Name] = 7
		}
		if at, ok := p.QuorumTime(all); !ok || at != 7 || len(all) != len(p.Witnesses()) {
			t.Fatal("a policy that all witnesses together do not satisfy")
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	l := grown(20)
	p := policy(f, l.Policy())
	f.Add(l.Signed(20, 50, 60, 70))
	f.Add(l.Signed(0, 50, 60))
	f.Add(l.Signed(3))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := p.Checkpoint(b)
		if err == nil && (v.Checkpoint != l.Checkpoint(v.Checkpoint.Size) || len(v.Witnesses) < 2 || v.Time > 70) {
			t.Fatalf("%+v, which was never cosigned", v)
		}
		c, _, err2 := p.Signed(b)
		if err == nil && (err2 != nil || c != v.Checkpoint) {
			t.Fatalf("cosigned, but not signed: %v", err2)
		}
		for _, e := range []error{err, err2} {
			if e != nil && refusal.CodeOf(e) == "" {
				t.Fatalf("no code: %v", e)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	l := grown(5000)
	p := policy(b, l.Policy())
	proof := l.Proof(1234, 5000, 50, 60, -1)
	b.ReportMetric(float64(len(proof)), "bytes")
	for b.Loop() {
		if _, err := p.Verify(entry(1234), proof); err != nil {
			b.Fatal(err)
		}
	}
}
