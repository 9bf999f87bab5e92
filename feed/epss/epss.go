// Package epss reads FIRST's Exploit Prediction Scoring System: one file a day
// with, for each CVE, the probability of exploitation in the next 30 days.
//
// The parties: FIRST, which computes the scores; the way between; and room
// priority, which orders work inside a class by them. The objects are Scores,
// one reading of one day's file, and the Score.
//
// The promise: every row is taken whole or not at all, and what was not taken is
// a gap. A CVE that has no row is unscored, which is not zero. A reading holds 16
// bytes for each CVE.
//
// The file is not signed, and a plain file that was cut at the end of a line
// looks whole: only its size against an earlier day shows that. Scores of
// different model versions cannot be compared, percentiles can.
package epss

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/document"
)

// What snapshots from here are called.
const (
	Name = "first-epss"
	Kind = "epss"
)

// Limits. The file of August 2026 has 360,142 rows in 11 MB, unpacked.
const (
	MaxBytes = 512 << 20
	MaxRows  = 5_000_000
)

// PPM is the unit of scores and percentiles: parts in a million.
const PPM = 1_000_000

// Score is what is predicted for one CVE.
type Score struct {
	EPSS       uint32 `json:"epss"`       // probability in parts per million, 0 to PPM
	Percentile uint32 `json:"percentile"` // share of CVEs with the same or a lower score, likewise
	Ranked     bool   `json:"ranked"`     // false: the file has no percentiles (before September 2021)
}

// Share is the score as FIRST writes it: "0.97000".
func (s Score) Share() string { return fmt.Sprintf("%.5f", float64(s.EPSS)/PPM) }

// Scores is one reading. Its Snapshot's Newest is the day of the scores at 0:00
// UTC, and Count is the number of different CVEs.
type Scores struct {
	Snapshot advisory.Snapshot `json:"snapshot"`
	Model    string            `json:"model"` // "v2023.03.01"; "" when not stated
	Day      string            `json:"day"`   // "2023-03-07"; "" when neither the file nor its name states it
	rows     []row             // ascending by cve
}

type row struct {
	cve              uint64
	epss, percentile uint32
}

const unranked = math.MaxUint32

// Of finds the score of a CVE; false means that it is unscored.
func (s Scores) Of(cve string) (Score, bool) {
	key, err := keyOf([]byte(cve))
	if err != nil {
		return Score{}, false
	}
	i, ok := slices.BinarySearchFunc(s.rows, key, func(r row, key uint64) int { return cmp.Compare(r.cve, key) })
	if !ok {
		return Score{}, false
	}
	return s.rows[i].score(), true
}

func (r row) score() Score {
	if r.percentile == unranked {
		return Score{EPSS: r.epss}
	}
	return Score{r.epss, r.percentile, true}
}

// Options say how a file is read.
type Options struct {
	Source string    // file or URL without credentials; its name may tell the day
	Now    time.Time // the time to write into the snapshot; required
}

// Read reads a file of https://www.first.org/epss/data_stats, plain or gzip, in
// any of its generations: columns cve,epss (to August 2021); with percentile; and
// with a first line #model_version:…,score_date:… (since February 2022). The
// Snapshot's Digest is the SHA-256 of the bytes as they came. The error is
// document.ErrUnusable: nothing in it is a file of scores.
func Read(in io.Reader, o Options) (Scores, error) { return read(in, o, MaxRows) }

func read(in io.Reader, o Options, most int) (Scores, error) {
	f, err := document.Open(in, MaxBytes)
	if err != nil {
		return Scores{}, err
	}
	r := &reading{in: f, most: most}
	if err := r.header(); err != nil {
		return Scores{}, fmt.Errorf("%w: it is no file of EPSS scores (%w)", document.ErrUnusable, err)
	}
	err = r.body()
	digest, rest := f.Close()
	if err = cmp.Or(err, rest); err != nil {
		r.gaps.Add("", "reading stopped in line %d: %v", r.line, err)
	}
	r.unique()
	if len(r.rows) == 0 {
		r.gaps.Add("", "there is no score in it")
	}
	s := Scores{Model: r.model, Day: r.day, rows: r.rows}
	if s.Day == "" {
		s.Day = dayOfName(o.Source)
	}
	at, err := time.Parse(time.DateOnly, s.Day)
	newest := at.Unix()
	if err != nil {
		newest = 0
		r.gaps.Add("", "neither the file nor its name says of which day it is, so its age is unknown")
	}
	s.Snapshot = advisory.Snapshot{Name: Name, Kind: Kind, Source: string(canon.NoteOf(o.Source)), Fetched: o.Now.Unix(), Digest: digest,
		Count: len(r.rows), Newest: newest, Scope: []advisory.Subject{}, Partial: r.gaps.List()}
	return s, nil
}

var fileName = regexp.MustCompile(`^epss_scores-([0-9]{4}-[0-9]{2}-[0-9]{2})\.csv(\.gz)?$`)

// dayOfName reads the day from a name such as FIRST gives.
func dayOfName(source string) string {
	if m := fileName.FindStringSubmatch(path.Base(strings.ReplaceAll(source, `\`, "/"))); m != nil {
		return m[1]
	}
	return ""
}

// reading is one pass over a file.
type reading struct {
	in     *document.File
	most   int // rows
	gaps   document.Gaps
	rows   []row
	line   int
	ranked bool
	model  string
	day    string
}

var (
	errLong = fmt.Errorf("a line of more than %d bytes", document.MaxLine)
	errCut  = errors.New("the last line has no end; the file may be cut short")
)

// next gives one line without its end; io.EOF stands alone. errLong and errCut
// come without a line.
func (r *reading) next() ([]byte, error) {
	b, err := r.in.ReadSlice('\n')
	if len(b) > 0 {
		r.line++
	}
	switch {
	case err == nil:
		b = b[:len(b)-1]
		return bytes.TrimSuffix(b, []byte("\r")), nil
	case errors.Is(err, io.EOF) && len(b) > 0:
		return nil, errCut
	case !errors.Is(err, bufio.ErrBufferFull):
		return nil, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.in.ReadSlice('\n')
	}
	return nil, errLong
}

// header reads the comments and the names of the columns.
func (r *reading) header() error {
	for {
		b, err := r.next()
		switch {
		case err != nil:
			return fmt.Errorf("in line %d: %w", max(r.line, 1), err)
		case r.line > 16:
			return errors.New("no column names in the first 16 lines")
		case len(b) > 0 && b[0] == '#':
			r.comment(string(b[1:]))
		case string(b) == "cve,epss,percentile":
			r.ranked = true
			return nil
		case string(b) == "cve,epss":
			return nil
		default:
			return fmt.Errorf("line %d has other columns than cve,epss[,percentile]", r.line)
		}
	}
}

// comment reads "model_version:v2023.03.01,score_date:2023-03-07T00:00:00+0000".
func (r *reading) comment(text string) {
	for _, part := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(part, ":")
		switch {
		case key == "model_version" && len(value) <= 64:
			r.model = string(canon.NoteOf(value))
		case key == "score_date":
			for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05-0700", time.DateOnly} {
				if at, err := time.Parse(form, value); err == nil {
					r.day = at.UTC().Format(time.DateOnly)
				}
			}
			if r.day == "" {
				r.gaps.Add("", "line %d: the score_date is no date", r.line)
			}
		}
	}
}

// body reads the rows. A broken one is a gap; an error ends the reading.
func (r *reading) body() error {
	for {
		b, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err == errLong || err == errCut {
			r.gaps.Add("", "line %d was skipped: %v", r.line, err)
			continue
		}
		if err != nil {
			return err
		}
		if len(r.rows) == r.most {
			return fmt.Errorf("more than %d rows", r.most)
		}
		one, err := r.row(b)
		if err != nil {
			id, _, _ := bytes.Cut(b, []byte(","))
			r.gaps.Add(string(id[:min(len(id), 40)]), "line %d was skipped: %v", r.line, err)
			continue
		}
		r.rows = append(r.rows, one)
	}
}

func (r *reading) row(b []byte) (row, error) {
	id, rest, _ := bytes.Cut(b, []byte(","))
	cve, err := keyOf(id)
	if err != nil {
		return row{}, err
	}
	score, rank, both := bytes.Cut(rest, []byte(","))
	if both != r.ranked {
		return row{}, errors.New("it has another number of columns than the header")
	}
	one := row{cve: cve, percentile: unranked}
	if one.epss, err = ppm(score); err == nil && both {
		one.percentile, err = ppm(rank)
	}
	return one, err
}

// unique sorts the rows and lets each CVE count once: the higher score stays
// where two rows differ.
func (r *reading) unique() {
	slices.SortFunc(r.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.cve, b.cve), cmp.Compare(b.epss, a.epss), cmp.Compare(b.percentile, a.percentile))
	})
	kept := r.rows[:0]
	for _, one := range r.rows {
		if n := len(kept); n > 0 && kept[n-1].cve == one.cve {
			if kept[n-1] != one {
				r.gaps.Add(nameOf(one.cve), "two rows give different scores; the higher one counts")
			}
			continue
		}
		kept = append(kept, one)
	}
	r.rows = slices.Clip(kept)
}

const numbers = 1_000_000_000_000 // CVE numbers of one year; those in use have up to 7 digits

var errID = errors.New("the first column is no CVE id")

// keyOf gives "CVE-2026-0001" as 2026·10¹²+1. The key and the name stand for
// each other: a number is padded to four digits and no further.
func keyOf(id []byte) (uint64, error) {
	rest, ok := bytes.CutPrefix(id, []byte("CVE-"))
	if !ok || len(rest) < 9 || len(rest) > 5+12 || rest[4] != '-' || rest[5] == '0' && len(rest) > 9 {
		return 0, errID
	}
	var year, n uint64
	for i, c := range rest {
		switch {
		case i == 4:
		case c < '0' || c > '9':
			return 0, errID
		case i < 4:
			year = year*10 + uint64(c-'0')
		default:
			n = n*10 + uint64(c-'0')
		}
	}
	return year*numbers + n, nil
}

// nameOf is the way back.
func nameOf(key uint64) string { return fmt.Sprintf("CVE-%04d-%04d", key/numbers, key%numbers) }

var errShare = errors.New("a value is no decimal between 0 and 1")

// ppm reads a decimal between 0 and 1 as parts per million, rounded.
func ppm(b []byte) (uint32, error) {
	if len(b) == 0 || len(b) > 32 || b[0] < '0' || b[0] > '9' {
		return 0, errShare
	}
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != '-' {
			return 0, errShare
		}
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, errShare
	}
	return uint32(math.Round(f * PPM)), nil
}

// Drift is how the scores of one reading lie to those of an earlier one.
type Drift struct {
	Common  int    // CVEs that both score
	Moved   int    // of these: by a tenth of the scale or more
	Top     int    // highest of the earlier scores that both have: up to a thousand, at most a twentieth
	Kept    int    // of these: still among the highest twentieth of the later
	Highest uint32 // highest score of the later reading, parts per million
}

// Since compares with an earlier reading.
func (s Scores) Since(last Scores) Drift {
	var d Drift
	type pair struct{ was, is uint32 }
	var both []pair
	i := 0
	for _, r := range s.rows {
		d.Highest = max(d.Highest, r.epss)
		for i < len(last.rows) && last.rows[i].cve < r.cve {
			i++
		}
		if i == len(last.rows) || last.rows[i].cve != r.cve {
			continue
		}
		both = append(both, pair{last.rows[i].epss, r.epss})
		if gap := int64(r.epss) - int64(last.rows[i].epss); gap >= PPM/10 || gap <= -PPM/10 {
			d.Moved++
		}
	}
	d.Common = len(both)
	if d.Top = min(1000, d.Common/20); d.Top == 0 {
		return d
	}
	slices.SortFunc(both, func(a, b pair) int { return cmp.Compare(b.is, a.is) })
	least := both[d.Common/20-1].is
	slices.SortFunc(both, func(a, b pair) int { return cmp.Compare(b.was, a.was) })
	for _, p := range both[:d.Top] {
		if p.is >= least {
			d.Kept++
		}
	}
	return d
}

// Fall is a score that is far lower than it was.
type Fall struct {
	CVE  string
	Was  Score
	Is   Score
	Gone bool // it has none any more, and Is is zero
}

// Falls lists the scores that fell by at least so many parts per million since an
// earlier reading, ascending by year and number. One that is gone fell to zero.
func (s Scores) Falls(last Scores, by uint32) (out []Fall) {
	i := 0
	for _, was := range last.rows {
		for i < len(s.rows) && s.rows[i].cve < was.cve {
			i++
		}
		f := Fall{Was: was.score(), Gone: i == len(s.rows) || s.rows[i].cve != was.cve}
		if !f.Gone {
			f.Is = s.rows[i].score()
		}
		if was.epss >= by && was.epss-by >= f.Is.EPSS {
			f.CVE = nameOf(was.cve)
			out = append(out, f)
		}
	}
	return out
}

// With is the reading with other scores of these CVEs.
func (s Scores) With(list map[string]Score) Scores {
	rows := slices.Clone(s.rows)
	for name, score := range list {
		key, err := keyOf([]byte(name))
		if err != nil {
			continue
		}
		one := row{key, score.EPSS, score.Percentile}
		if !score.Ranked {
			one.percentile = unranked
		}
		i, ok := slices.BinarySearchFunc(rows, key, func(r row, key uint64) int { return cmp.Compare(r.cve, key) })
		if ok {
			rows[i] = one
		} else {
			rows = slices.Insert(rows, i, one)
		}
	}
	s.rows = rows
	return s
}
