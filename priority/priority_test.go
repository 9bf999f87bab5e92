package priority

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func standard(t testing.TB) Rules {
	t.Helper()
	r, err := Standard()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// everyRow asks a table for each of its combinations and writes the answers in
// the names that SSVC's own CSV files use.
func everyRow(t *testing.T, table Table) string {
	var b strings.Builder
	n := 1
	for _, p := range table.Inputs {
		n *= len(p.Values)
	}
	for at := range n {
		possible := map[string][]string{}
		var line []string
		for i, key := range table.keys(at) {
			p := table.Inputs[i]
			possible[p.ID] = []string{key}
			line = append(line, p.Values[p.index(key)].Name)
		}
		d := table.Decide(possible)
		for i, in := range d.Inputs {
			if in.Value != table.keys(at)[i] || !in.Known {
				t.Fatalf("row %d: asked %v, answered for %+v", at, table.keys(at), d.Inputs)
			}
		}
		b.WriteString(strings.ToLower(strings.Join(append(line, d.Name), " | ")) + "\n")
	}
	return b.String()
}

func TestEveryRowIsTheDirectives(t *testing.T) {
	r := standard(t)
	for name, table := range map[string]Table{"bod.golden": r.BOD, "deployer.golden": r.Deployer} {
		want, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := everyRow(t, table); got != string(want) {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
}

// Our files say row by row what SSVC's own files say, and name the same points.
func TestTablesAreSSVCs(t *testing.T) {
	dir := os.Getenv("PATCHWRIT_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	r := standard(t)
	for name, ours := range map[string]Table{"cisa_bod_26_04_1_0_0.json": r.BOD, "deployer_patch_application_priority_1_0_0.json": r.Deployer} {
		raw, err := os.ReadFile(filepath.Join(dir, "ssvc", name))
		if err != nil {
			t.Skipf("the shared data set is not here (PATCHWRIT_SHARED names its folder): %v", err)
		}
		theirs, err := Load(raw)
		if err != nil {
			t.Fatalf("%s: the loader does not take SSVC's own file: %v", name, err)
		}
		if ours.ID != theirs.ID || !slices.Equal(ours.rows, theirs.rows) {
			t.Errorf("%s: the rows differ", name)
		}
		for i, p := range append(slices.Clone(theirs.Inputs), theirs.Outcome) {
			q := append(slices.Clone(ours.Inputs), ours.Outcome)[i]
			same := slices.EqualFunc(p.Values, q.Values, func(a, b Value) bool { return a.Key == b.Key && a.Name == b.Name })
			if p.ID != q.ID || p.Name != q.Name || !same {
				t.Errorf("%s: %s differs from %s", name, q.ID, p.ID)
			}
		}
	}
}

// A worse value of one input never gives a milder outcome.
func TestWorseIsNeverMilder(t *testing.T) {
	r := standard(t)
	for _, table := range []Table{r.BOD, r.Deployer} {
		for a := range table.rows {
			for b := range table.rows {
				worse := true
				for i, p := range table.Inputs {
					worse = worse && p.index(table.keys(a)[i]) <= p.index(table.keys(b)[i])
				}
				if worse && table.rows[a] > table.rows[b] {
					t.Errorf("%s: %v is stricter than %v", table.ID, table.keys(a), table.keys(b))
				}
			}
		}
	}
}

func TestClassesOfBOD2604(t *testing.T) {
	r := standard(t)
	hold := []Step{HoldForTriage, Change}
	for name, c := range map[string]struct {
		f     Facts
		key   string
		days  int
		steps []Step
		ssvc  string
	}{
		"listed, exposed, automatable, total": {Facts{Yes, Yes, Yes, Yes, ""}, "3DF", 3, hold, "I"},
		"listed, inside, automatable, total":  {Facts{Yes, No, Yes, Yes, ""}, "3DF", 3, hold, "O"},
		"listed, exposed, automatable":        {Facts{Yes, Yes, Yes, No, ""}, "3D", 3, []Step{Change}, "I"},
		"not listed, everything else":         {Facts{No, Yes, Yes, Yes, ""}, "3D", 3, []Step{Change}, "I"},
		"listed only":                         {Facts{Yes, No, No, No, ""}, "14D", 14, []Step{Change}, "O"},
		"exposed only":                        {Facts{No, Yes, No, No, ""}, "60D", 60, []Step{Change}, "I"},
		"nothing":                             {Facts{No, No, No, No, ""}, "FSU", 0, []Step{Change}, "O"},
		"nothing is known":                    {Facts{}, "3DF", 3, hold, "I"},
		"not listed, not exposed, unknown":    {Facts{KEV: No, Exposed: No}, "60D", 60, []Step{Change}, "O"},
	} {
		t.Run(name, func(t *testing.T) {
			d := r.Decide(c.f)
			if d.Class.Key != c.key || d.Class.Days != c.days || !slices.Equal(d.Class.Steps, c.steps) {
				t.Errorf("%+v", d.Class)
			}
			if d.SSVC.Outcome != c.ssvc {
				t.Errorf("deployer tree: %s, want %s", d.SSVC.Outcome, c.ssvc)
			}
		})
	}
}

// Nothing is changed on a host of the forensic class before triage.
func TestTriageComesBeforeTheChange(t *testing.T) {
	c := standard(t).Decide(Facts{Yes, Yes, Yes, Yes, ""}).Class
	for _, s := range []struct {
		done []Step
		next Step
	}{{nil, HoldForTriage}, {[]Step{Change}, HoldForTriage}, {[]Step{HoldForTriage}, Change}, {[]Step{HoldForTriage, Change}, ""}} {
		if got := c.Next(s.done); got != s.next {
			t.Errorf("after %v: %q", s.done, got)
		}
	}
	if c := standard(t).Decide(Facts{No, No, No, No, ""}).Class; c.Next(nil) != Change {
		t.Errorf("%+v", c)
	}
}

// Against all completions of what is unknown: the answer is the strictest of
// theirs, the row is one that gives it, and each counterfactual is what a second
// question gives.
func TestUnknownTakesTheStricterRow(t *testing.T) {
	r := standard(t)
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.SampledFrom([]Table{r.BOD, r.Deployer}).Draw(t, "table")
		possible := map[string][]string{}
		for _, p := range table.Inputs {
			for _, v := range p.Values {
				if rapid.Bool().Draw(t, p.ID+v.Key) {
					possible[p.ID] = append(possible[p.ID], v.Key)
				}
			}
		}
		d := table.Decide(possible)
		strictest := -1
		for at, out := range table.rows {
			in := true
			for i, key := range table.keys(at) {
				p := possible[table.Inputs[i].ID]
				in = in && (len(p) == 0 || slices.Contains(p, key))
			}
			if in {
				strictest = max(strictest, out)
			}
		}
		if table.Outcome.index(d.Outcome) != strictest {
			t.Fatalf("%+v, the strictest is %d", d, strictest)
		}
		row, wants := map[string][]string{}, 0
		for i, in := range d.Inputs {
			row[in.Point] = []string{in.Value}
			n := len(possible[in.Point])
			if in.Known != (n == 1 || n == 0 && len(table.Inputs[i].Values) == 1) {
				t.Fatalf("%+v with %v", in, possible)
			}
			wants += len(table.Inputs[i].Values) - 1
		}
		if got := table.Decide(row); got.Outcome != d.Outcome {
			t.Fatalf("the row that is shown gives %s, the answer is %s", got.Outcome, d.Outcome)
		}
		if len(d.Would) != wants {
			t.Fatalf("%d counterfactuals, want %d", len(d.Would), wants)
		}
		for _, w := range d.Would {
			other := maps.Clone(possible)
			other[w.Point] = []string{w.Value}
			n := len(possible[w.Point])
			if got := table.Decide(other); got.Outcome != w.Outcome || w.Possible != (n == 0 || slices.Contains(possible[w.Point], w.Value)) {
				t.Fatalf("%+v, asked: %s", w, got.Outcome)
			}
		}
	})
}

func TestLoadIsStrict(t *testing.T) {
	raw, err := tables.ReadFile("tables/cisa_bod_26_04.json")
	if err != nil {
		t.Fatal(err)
	}
	deployer, err := tables.ReadFile("tables/ssvc_deployer.json")
	if err != nil {
		t.Fatal(err)
	}
	good := string(raw)
	first := `{"cisa:KEV:1.0.0": "N", "cisa:PE:1.0.0": "N", "ssvc:A:2.0.0": "N", "ssvc:TI:1.0.0": "P", "cisa:BOD2604:1.0.0": "FSU"},`
	for name, c := range map[string]struct{ old, new, says string }{
		"a row is missing":           {first, "", "there is no row for N, N, N, P"},
		"a row stands twice":         {first, first + first, "stands there already"},
		"two rows contradict":        {first, first + strings.Replace(first, "FSU", "3D", 1), "stands there already"},
		"an unknown input":           {first, strings.Replace(first, `"N"`, `"X"`, 1), "has no value"},
		"an unknown outcome":         {first, strings.Replace(first, "FSU", "1D", 1), "has no value"},
		"an outcome of another name": {first, strings.Replace(first, `"cisa:BOD2604:1.0.0"`, `"cisa:BOD2604:1.0.1"`, 1), "has no value"},
		"an input too few":           {first, strings.Replace(first, `"cisa:PE:1.0.0": "N", `, "", 1), "4 values, 5 are needed"},
		"an input too many":          {first, strings.Replace(first, `{`, `{"ssvc:X:1.0.0": "N", `, 1), "6 values, 5 are needed"},
		"a key twice in a row":       {first, strings.Replace(first, `{`, `{"cisa:KEV:1.0.0": "Y", `, 1), "stands twice"},
		"a key of another case":      {`"name": "CISA BOD 26-04"`, `"name": "CISA BOD 26-04", "Name": "x"`, "stands twice"},
		"a value's key twice":        {`"key": "60D"`, `"key": "14D"`, "its key stands twice"},
		"a point of another name":    {`"key": "PE"`, `"key": "EP"`, "calls itself otherwise"},
		"a point of another schema":  {`"name": "In KEV",`, `"name": "In KEV", "schemaVersion": "3.0.0",`, "stands twice"},
		"another schema":             {`"schemaVersion": "2.0.0"`, `"schemaVersion": "2.1.0"`, "schemaVersion"},
		"an unknown member":          {`"outcome":`, `"outcomes": "x", "outcome":`, "unknown field"},
		"no outcome":                 {`"outcome": "cisa:BOD2604:1.0.0"`, `"outcome": "x"`, "not among"},
		"a null":                     {first, "null,", "null"},
		"a head without a name":      {`"name": "CISA BOD 26-04"`, `"name": ""`, "in its head"},
		"no name":                    {`"name": "In KEV"`, `"name": ""`, "no name"},
		"a name for terminals":       {`"name": "In KEV"`, `"name": "\u001b[2J"`, "no name"},
		"cut short":                  {" ]\n}\n", "", "EOF"},
		"a second table":             {" ]\n}\n", "]}{}", "something follows"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(good, c.old) {
				t.Fatal("the test's own words are not in the table")
			}
			_, err := NewRules([]byte(strings.Replace(good, c.old, c.new, 1)), deployer)
			if !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
	for name, pair := range map[string][2]string{
		"the tables are swapped":     {string(deployer), good},
		"an outcome without meaning": {strings.ReplaceAll(good, `"60D"`, `"61D"`), string(deployer)},
		"a later version of a point": {strings.NewReplacer("cisa:PE:1.0.0", "cisa:PE:2.0.0", `"key": "PE",
   "version": "1.0.0"`, `"key": "PE",
   "version": "2.0.0"`).Replace(good), string(deployer)},
		"a broken tree":   {good, "{"},
		"too large":       {good + strings.Repeat(" ", maxTable), string(deployer)},
		"nested too deep": {strings.Repeat("[", 20), string(deployer)},
	} {
		if _, err := NewRules([]byte(pair[0]), []byte(pair[1])); !errors.Is(err, ErrTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewRules(raw, deployer); err != nil {
		t.Error(err)
	}
}

// Whatever bytes come: no panic, and a table that is taken answers every
// question, also when nothing is known.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"cisa_bod_26_04.json", "ssvc_deployer.json"} {
		raw, err := tables.ReadFile("tables/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"namespace":"n","key":"k","version":"1","name":"t","definition":"","schemaVersion":"2.0.0","decision_points":{"n:a:1":{"namespace":"n","key":"a","version":"1","name":"a","definition":"","schemaVersion":"2.0.0","values":[{"key":"N","name":"no","definition":""}]},"n:o:1":{"namespace":"n","key":"o","version":"1","name":"o","definition":"","schemaVersion":"2.0.0","values":[{"key":"N","name":"no","definition":""}]}},"outcome":"n:o:1","mapping":[{"n:a:1":"N","n:o:1":"N"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		table, err := Load(raw)
		if err != nil {
			if !errors.Is(err, ErrTable) {
				t.Fatal(err)
			}
			return
		}
		d := table.Decide(nil)
		if !json.Valid(raw) || d.Outcome == "" || len(d.Inputs) != len(table.Inputs) {
			t.Fatalf("%+v", d)
		}
		if strings.ContainsFunc(fmt.Sprint(d), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatal("what people will see is not printable")
		}
	})
}

// Exploitation speaks in the deployer tree alone; who is listed is exploited,
// whatever SSVC says.
func TestExploitationIsAdviceAlone(t *testing.T) {
	r := standard(t)
	for name, c := range map[string]struct {
		f    Facts
		want []string // values of the point that the decision rests on
		ssvc string
	}{
		"none":              {Facts{No, No, No, No, ExploitedNone}, []string{"N"}, "S"},
		"a proof":           {Facts{No, No, No, No, ExploitedPoC}, []string{"P"}, "S"},
		"active":            {Facts{No, No, No, No, ExploitedActive}, []string{"A"}, "O"},
		"listed, said none": {Facts{Yes, No, No, No, ExploitedNone}, []string{"A"}, "O"},
		"unknown":           {Facts{No, No, No, No, ""}, nil, "O"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.f.known()[PointExploitation]; !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
			without := c.f
			without.Exploited = ""
			d := r.Decide(c.f)
			if d.SSVC.Outcome != c.ssvc || d.Class.Key != r.Decide(without).Class.Key {
				t.Errorf("%s, %s; want %s", d.SSVC.Outcome, d.Class.Key, c.ssvc)
			}
		})
	}
}

// What is wrong names the table that it is wrong with.
func TestWhichTableIsNotTaken(t *testing.T) {
	bod, err := tables.ReadFile("tables/cisa_bod_26_04.json")
	if err != nil {
		t.Fatal(err)
	}
	deployer, err := tables.ReadFile("tables/ssvc_deployer.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ bod, deployer, says string }{
		"the first is broken":  {"{}", string(deployer), "BOD 26-04: "},
		"the second is broken": {string(bod), "{}", "SSVC deployer tree: "},
		"two of one kind":      {string(deployer), string(deployer), "decides ssvc:DSOI:1.0.0 from other inputs"},
		"two of the other":     {string(bod), string(bod), "decides cisa:BOD2604:1.0.0 from other inputs"},
		"no JSON":              {"{]", string(deployer), "invalid character"},
		"too deep":             {strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17), string(deployer), "nested more than 16 deep"},
		"too many rows":        {wide(4096 + 1), string(deployer), "more than 4096 combinations"},
		"many rows":            {wide(4096), string(deployer), "there is no row"},
	} {
		if _, err := NewRules([]byte(c.bod), []byte(c.deployer)); !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// wide is a table with one input of n values and no rows.
func wide(n int) string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf(`{"key":"%d","name":"n"}`, i)
	}
	point := func(key, values string) string {
		return fmt.Sprintf(`"a:%s:1":{"namespace":"a","key":%[1]q,"version":"1","name":"n","schemaVersion":"2.0.0","values":[%s]}`, key, values)
	}
	return `{"namespace":"a","key":"t","version":"1","name":"n","schemaVersion":"2.0.0","outcome":"a:O:1","mapping":[],"decision_points":{` +
		point("I", strings.Join(values, ",")) + "," + point("O", `{"key":"x","name":"n"}`) + "}}"
}
