package priority

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
)

// ErrTable says that a decision table is not taken, and why. The one in force
// stays; publish a whole one.
var ErrTable = errors.New("the decision table is not taken")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTable, fmt.Sprintf(format, args...))
}

// Limits of a table. The largest that SSVC publishes has 72 rows.
const (
	maxTable = 1 << 20 // bytes
	maxRows  = 4096
	maxWord  = 1000 // bytes of one text
)

// Value is one value of a decision point.
type Value struct {
	Key        string `json:"key"`
	Name       string `json:"name"`
	Definition string `json:"definition"`
}

// Point is a question with its possible values, the mildest first.
type Point struct {
	ID     string  `json:"id"` // "ssvc:A:2.0.0": namespace, key, version
	Name   string  `json:"name"`
	Values []Value `json:"values"`
}

func (p Point) index(key string) int {
	return slices.IndexFunc(p.Values, func(v Value) bool { return v.Key == key })
}

// Table decides one outcome from inputs. Only Load can make one that decides.
type Table struct {
	ID      string       // "cisa:DT_BOD2604:1.0.0"
	Name    string       // "CISA BOD 26-04"
	Digest  canon.Digest // SHA-256 of the bytes it was loaded from
	Inputs  []Point      // ascending by ID
	Outcome Point
	rows    []int // index of the outcome, for each combination; the last input counts fastest
}

// The JSON of an SSVC decision table, schema 2.0.0.
type (
	tableJSON struct {
		Namespace, Key, Version, Name, Definition, SchemaVersion string
		Points                                                   map[string]pointJSON `json:"decision_points"`
		Outcome                                                  string
		Mapping                                                  []map[string]string
	}
	pointJSON struct {
		Namespace, Key, Version, Name, Definition, SchemaVersion string
		Values                                                   []Value
	}
)

// Load reads a decision table in the JSON format of SSVC (schema 2.0.0). It takes
// a table only when each combination of inputs stands in it exactly once, with
// known values, and nothing else is in the file. The error is ErrTable.
func Load(raw []byte) (Table, error) {
	if len(raw) > maxTable {
		return Table{}, bad("it has %d bytes, the limit is %d", len(raw), maxTable)
	}
	if err := noKeyTwice(raw); err != nil {
		return Table{}, err
	}
	var j tableJSON
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return Table{}, bad("%v", err)
	}
	if j.SchemaVersion != "2.0.0" {
		return Table{}, bad("its schemaVersion is %.40q, this program reads 2.0.0", j.SchemaVersion)
	}
	t := Table{ID: strings.Join([]string{j.Namespace, j.Key, j.Version}, ":"), Name: j.Name, Digest: canon.SumFile(raw)}
	if !words(j.Namespace, j.Key, j.Version, j.Name) {
		return Table{}, bad("a word in its head is missing or not printable")
	}
	for _, id := range slices.Sorted(maps.Keys(j.Points)) {
		p, err := point(id, j.Points[id])
		if err != nil {
			return Table{}, err
		}
		if id == j.Outcome {
			t.Outcome = p
			continue
		}
		t.Inputs = append(t.Inputs, p)
	}
	if t.Outcome.ID == "" || len(t.Inputs) == 0 {
		return Table{}, bad("its outcome or its inputs are not among its decision points")
	}
	return t, t.fill(j.Mapping)
}

func point(id string, j pointJSON) (Point, error) {
	p := Point{ID: id, Name: j.Name, Values: j.Values}
	if id != strings.Join([]string{j.Namespace, j.Key, j.Version}, ":") || j.SchemaVersion != "2.0.0" {
		return Point{}, bad("the decision point %.80q calls itself otherwise, or has another schema", id)
	}
	if !words(id, j.Name) || len(j.Values) == 0 {
		return Point{}, bad("the decision point %.80q has no name or no values", id)
	}
	for i, v := range j.Values {
		if !words(v.Key, v.Name) || p.index(v.Key) != i {
			return Point{}, bad("value %d of %s has no key or name, or its key stands twice", i, id)
		}
	}
	return p, nil
}

// words reports whether each text is printable ASCII of a sane length.
func words(texts ...string) bool {
	for _, s := range texts {
		if s == "" || len(s) > maxWord || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			return false
		}
	}
	return true
}

// fill reads the rows.
func (t *Table) fill(mapping []map[string]string) error {
	size := 1
	for _, p := range t.Inputs {
		if size *= len(p.Values); size > maxRows {
			return bad("it has more than %d combinations", maxRows)
		}
	}
	rows := slices.Repeat([]int{-1}, size)
	for n, row := range mapping {
		if len(row) != len(t.Inputs)+1 {
			return bad("row %d has %d values, %d are needed", n, len(row), len(t.Inputs)+1)
		}
		at := 0
		for _, p := range t.Inputs {
			i := p.index(row[p.ID])
			if i < 0 {
				return bad("row %d: %s has no value %.40q", n, p.ID, row[p.ID])
			}
			at = at*len(p.Values) + i
		}
		out := t.Outcome.index(row[t.Outcome.ID])
		if out < 0 {
			return bad("row %d: %s has no value %.40q", n, t.Outcome.ID, row[t.Outcome.ID])
		}
		if rows[at] >= 0 {
			return bad("row %d stands for a combination that stands there already", n)
		}
		rows[at] = out
	}
	if i := slices.Index(rows, -1); i >= 0 {
		return bad("there is no row for %s", strings.Join(t.keys(i), ", "))
	}
	t.rows = rows
	return nil
}

// keys gives the values of a combination, in the order of Inputs.
func (t *Table) keys(at int) []string {
	out := make([]string, len(t.Inputs))
	for i, p := range slices.Backward(t.Inputs) {
		out[i] = p.Values[at%len(p.Values)].Key
		at /= len(p.Values)
	}
	return out
}

// noKeyTwice reads any JSON and refuses one key twice in one object, and keys
// that differ in case only: encoding/json would take the last of them.
func noKeyTwice(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	type level struct {
		keys map[string]bool // nil in a list
		key  bool            // a key comes next
	}
	stack := []*level{{}}
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return bad("%v", err)
		}
		top := stack[len(stack)-1]
		if s, ok := tok.(string); ok && top.key {
			if s = strings.ToLower(s); top.keys[s] {
				return bad("the key %.80q stands twice, before byte %d", s, d.InputOffset())
			}
			top.keys[s], top.key = true, false
			continue
		}
		top.key = top.keys != nil
		switch tok {
		case json.Delim('{'), json.Delim('['):
			if len(stack) > 16 {
				return bad("it is nested more than 16 deep")
			}
			next := &level{}
			if tok == json.Delim('{') {
				next = &level{map[string]bool{}, true}
			}
			stack = append(stack, next)
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		case nil:
			return bad("there is a null before byte %d", d.InputOffset())
		}
		if len(stack) == 1 && d.More() {
			return bad("something follows the end of the table")
		}
	}
}

// Decision is an answer of a table, with what a sceptic needs to find it again.
type Decision struct {
	Table   string  `json:"table"`
	Outcome string  `json:"outcome"` // key
	Name    string  `json:"name"`    // of the outcome
	Inputs  []Input `json:"inputs"`  // the row, ascending by point
	Would   []Would `json:"would"`   // what another value of one input would give; never nil
}

// Input is one value of the row that decided.
type Input struct {
	Point string `json:"point"`
	Name  string `json:"name"`
	Value string `json:"value"` // key
	Means string `json:"means"` // the value's name
	Known bool   `json:"known"` // false: more than one value is possible; the row is the strictest of theirs
}

// Would is a counterfactual: with this value of this input, and everything else
// as it is known or not known, the outcome were this one.
type Would struct {
	Point    string `json:"point"`
	Value    string `json:"value"`
	Means    string `json:"means"`
	Possible bool   `json:"possible"` // as far as is known, it may be so
	Outcome  string `json:"outcome"`
	Name     string `json:"name"` // of the outcome
}

// Decide finds the row. possible gives, for points of which something is known,
// the values they may have; a point that is missing, or has no value of the
// table, may have any. Where several rows are possible the strictest outcome
// decides, and of its rows the one with the severest values.
func (t Table) Decide(possible map[string][]string) Decision {
	masks := make([][]bool, len(t.Inputs))
	for i, p := range t.Inputs {
		masks[i] = allowed(p, possible[p.ID])
	}
	at := t.strictest(masks)
	d := Decision{Table: t.ID, Would: []Would{}}
	d.Outcome, d.Name = t.outcome(at)
	row := t.keys(at)
	for i, p := range t.Inputs {
		v := p.index(row[i])
		d.Inputs = append(d.Inputs, Input{p.ID, p.Name, row[i], p.Values[v].Name, count(masks[i]) == 1})
		mine := masks[i]
		for o, other := range p.Values {
			if o == v {
				continue
			}
			masks[i] = make([]bool, len(p.Values))
			masks[i][o] = true
			w := Would{Point: p.ID, Value: other.Key, Means: other.Name, Possible: mine[o]}
			w.Outcome, w.Name = t.outcome(t.strictest(masks))
			d.Would = append(d.Would, w)
		}
		masks[i] = mine
	}
	return d
}

func (t Table) outcome(at int) (key, name string) {
	v := t.Outcome.Values[t.rows[at]]
	return v.Key, v.Name
}

// allowed marks the values of p that are possible: all when none is named.
func allowed(p Point, keys []string) []bool {
	mask := make([]bool, len(p.Values))
	for i, v := range p.Values {
		mask[i] = slices.Contains(keys, v.Key)
	}
	if count(mask) == 0 {
		return slices.Repeat([]bool{true}, len(mask))
	}
	return mask
}

func count(mask []bool) (n int) {
	for _, m := range mask {
		if m {
			n++
		}
	}
	return n
}

// strictest finds, among the combinations that the masks leave, the last one of
// the highest outcome.
func (t Table) strictest(masks [][]bool) int {
	best := -1
	for at := range t.rows {
		rest, in := at, true
		for i, p := range slices.Backward(t.Inputs) {
			in = in && masks[i][rest%len(p.Values)]
			rest /= len(p.Values)
		}
		if in && (best < 0 || t.rows[at] >= t.rows[best]) {
			best = at
		}
	}
	return best
}
