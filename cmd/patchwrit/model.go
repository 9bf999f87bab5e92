package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/identity/page"
	"github.com/patchwrit/patchwrit/trust"
)

func init() { verbs = append(verbs, modelCmd) }

func modelCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "model", Short: "see how the models that advise do, and give or take their say",
		Long: "A model that a control plane asks (up --model) begins in shadow: it is asked and written down, and nothing of it counts. People promote it step by\n" +
			"step, shadow, show, hold, when its figures allow it; when it drifts from what it was, the control plane takes a step back by itself.\n" +
			"Whatever its say, a model permits nothing and puts nothing off for good (docs/ADVICE.md)."}
	cmd.AddCommand(modelLsCmd(), modelShowCmd(), modelMetricsCmd(), modelLimitsCmd(), modelRegisterCmd(), modelPromoteCmd(), modelSignCmd(), modelDemoteCmd())
	return cmd
}

// models asks for all of them.
func (s *server) models(cmd *cobra.Command) ([]control.ModelView, error) {
	var all []control.ModelView
	err := s.get(cmd.Context(), "models", &all)
	return all, err
}

// model finds one by its digest, or the beginning of it; "" is the one that is asked.
func (s *server) model(cmd *cobra.Command, prefix string) (control.ModelView, error) {
	all, err := s.models(cmd)
	if err != nil {
		return control.ModelView{}, err
	}
	if prefix != "" {
		return one(all, "model", prefix, func(v control.ModelView) string { return string(v.Digest) })
	}
	for _, v := range all {
		if v.Asked {
			return v, nil
		}
	}
	return control.ModelView{}, exit{exitFailure, fmt.Errorf("this control plane asks no model: name one of patchwrit model ls")}
}

// recordOf is a model's record, as its registration holds it.
func recordOf(v control.ModelView) (m dialect.Model) {
	_ = canon.Decode([]byte(v.Registration.Record), &m) // what cannot be read is shown empty
	return m
}

func modelLsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Short: "list the models that were ever registered, with their say",
		Example: "  patchwrit model ls\n  patchwrit model ls -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			all, err := s.models(cmd)
			if err != nil {
				return err
			}
			t := &rows{head: []string{"MODEL", "ASKED", "SAY", "SINCE", "BY", "PROVIDER", "NAME", "CASES", "ALARMS", "WHY"}}
			for _, v := range all {
				asked, by := "no", v.By
				if v.Asked {
					asked = "yes"
				}
				if by == "" {
					by = "registered"
				}
				t.add(v.Digest.Short(), asked, string(v.Say), when(v.Since), by, string(recordOf(v).Provider), recordOf(v).Name, fmt.Sprint(casesOf(v.Base)+casesOf(v.Recent)), fmt.Sprint(len(v.Alarms)), v.Why.Text())
			}
			return present(cmd, all, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func casesOf(figures []conduct.Figures) int {
	for _, f := range figures {
		if f.Segment == conduct.All {
			return f.Cases
		}
	}
	return 0
}

func modelShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show [MODEL]", Short: "show a model: what it is, its say, its data sheet, and what stands in the way of more",
		Long:    "Without MODEL, the one that is asked. -o json has the limits in force and all figures.",
		Example: "  patchwrit model show\n  patchwrit model show 91c0ffee -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			v, err := s.model(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			m, p := recordOf(v), &pairs{}
			p.add("model", "%s", v.Digest)
			p.add("provider", "%s", m.Provider)
			p.add("name", "%s", m.Name)
			p.add("record", "%s", clean(v.Registration.Record))
			p.add("prompt", "%s", v.Registration.Prompt)
			p.add("registration", "%s, %s", v.Registration.Digest(), when(v.Registration.At))
			p.add("say", "%s since %s: %s", v.Say, when(v.Since), v.Why.Text())
			p.add("limits", "%s", v.Limits.Digest())
			p.add("cases", "%d of its first time in shadow, %d after it", casesOf(v.Base), casesOf(v.Recent))
			for _, a := range v.Alarms {
				p.add("alarm", "%s: %s", a.Measure, a.Text.Text())
			}
			if v.Loose != "" {
				p.add("hardly watched", "%s", v.Loose.Text())
			}
			if v.Missing != "" {
				p.add("no promotion", "%s", v.Missing)
			}
			if v.Registration.Sheet == "" {
				p.add("data sheet", "none; hand one over with patchwrit model register --sheet FILE")
				return present(cmd, v, p)
			}
			raw, err := s.raw(cmd.Context(), http.MethodGet, "models/"+string(v.Digest)+"/sheet", nil)
			if err != nil {
				return err
			}
			if canon.SumFile(raw) != v.Registration.Sheet {
				return swapped("the data sheet of model %s", v.Digest.Short())
			}
			p.add("data sheet", "%s, what people say of it:", v.Registration.Sheet)
			for _, line := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n") {
				p.add("", "  %s", clean(line))
			}
			return present(cmd, v, p)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func modelMetricsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "metrics [MODEL]", Short: "figures of a model by operating system, vendor and component, and what it is held to",
		Long: "Of each segment first the cases of the model's first time in shadow (base), then those after it (recent). A plan of several components counts in\n" +
			"each. Contradicted is the rate of claims that evidence contradicts: hallucinations. Without MODEL, the one that is asked.",
		Example: "  patchwrit model metrics\n  patchwrit model metrics -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			v, err := s.model(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			t := &rows{head: []string{"SEGMENT", "TIME", "CASES", "CLAIMS", "VERIFIED", "CONTRADICTED", "ABSTAINED", "RESTRAINED", "DISAGREED", "MISJUDGED", "OVERRIDDEN", "FIRST"}}
			for _, part := range []struct {
				name string
				list []conduct.Figures
			}{{"base", v.Base}, {"recent", v.Recent}} {
				for _, f := range part.list {
					name := f.By
					if f.By != conduct.ByAll {
						name = f.By + " " + clean(orNone(f.Name))
					}
					t.add(name, part.name, fmt.Sprint(f.Cases), fmt.Sprint(f.Claims), share(f.Verified, f.Claims), share(f.Contradicted, f.Claims), share(f.Abstained, f.Cases),
						share(f.Restrained, f.Cases), share(f.Disagreed, f.Cases), share(f.Misjudged, f.Ended), share(f.Overridden, f.Asked), fmt.Sprintf("%d of %d", f.First, f.Orders))
				}
			}
			return present(cmd, v, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func modelLimitsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "limits", Short: "print the limits in force: what models are held to, and what a promotion wants",
		Long: "Thresholds of the signed rules (advice_limits), else those that the program carries. Rates and ratios are millionths, sigmas thousandths;\n" +
			"docs/ADVICE.md says what each is for. A promotion names their digest.",
		Example: "  patchwrit model limits\n  patchwrit model limits -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			var l conduct.Limits
			if err := s.get(cmd.Context(), "limits", &l); err != nil {
				return err
			}
			var values map[string]any
			if err := json.Unmarshal(canon.MustEncode(l), &values); err != nil {
				return err
			}
			p := &pairs{}
			p.add("limits", "%s", l.Digest())
			for _, key := range slices.Sorted(maps.Keys(values)) {
				p.add(key, "%v", values[key])
			}
			return present(cmd, l, p)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

// share is a rate for people; of nothing there is none.
func share(ppm, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", float64(ppm)/(conduct.Million/100))
}

func modelRegisterCmd() *cobra.Command {
	var sheet string
	cmd := &cobra.Command{
		Use: "register [MODEL] --sheet FILE", Short: "hand over a model's data sheet: what it was trained on, and tried with",
		Long: "The control plane enters a model into the ledger by itself when it is started with it. This adds the data sheet, which people who promote it sign for:\n" +
			"sources, times, operating systems and vendors of training and evaluation data, known weaknesses. Any text, at most 1 MiB; its SHA-256 stands in the log. An empty one, or a longer one, is refused (PW-MODEL-SHEET).",
		Example: "  patchwrit model register --sheet qwen3-8b.md",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if sheet == "" {
				return usagef("--sheet FILE says what the model was trained on")
			}
			raw, err := sheetOf(sheet)
			if err != nil {
				return err
			}
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			v, err := s.model(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			if _, err := s.raw(cmd.Context(), http.MethodPost, "models/"+string(v.Digest)+"/sheet", raw); err != nil {
				return err
			}
			tell(cmd, "model %s has data sheet %s", v.Digest.Short(), canon.SumFile(raw).Short())
			return nil
		},
	}
	addServerFlags(cmd)
	cmd.Flags().StringVar(&sheet, "sheet", "", "the data sheet")
	return cmd
}

// sheetOf reads a data sheet.
func sheetOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, conduct.MaxSheet+1))
	if err != nil {
		return nil, err
	}
	return raw, conduct.SheetFits(raw)
}

// promoting are the flags of model promote.
type promoting struct{ to, author, note, out, life string }

func modelPromoteCmd() *cobra.Command {
	var g promoting
	cmd := &cobra.Command{
		Use: "promote [MODEL] --to show|hold", Short: "write a promotion's exact statement, for people to sign",
		Long: "One step at a time: from shadow to show (its order is shown, what it escalates stands first for people who look anyway), from show to hold (what it\n" +
			"would hold is brought before people first). It is refused while the figures do not allow it; patchwrit model show says what is missing.\n" +
			"The people who may sign grants sign it (patchwrit model sign). It changes nothing until it is handed in.",
		Example: "  patchwrit model promote --to show --author p-7f3a12bc --note 'two months in shadow' --out promotion.json",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return g.run(cmd, strings.Join(args, "")) },
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&g.to, "to", "", "the say it gets: show or hold")
	f.StringVar(&g.author, "author", "", "who writes it, a person of the trust root; they cannot sign it")
	f.StringVar(&g.note, "note", "", "why, in a few words")
	f.StringVar(&g.life, "life", "7d", "until when it can be handed in, at most 7d")
	f.StringVar(&g.out, "out", "-", "file for the statement")
	return cmd
}

func (g promoting) run(cmd *cobra.Command, prefix string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	if _, known := root.Person(trust.PersonID(g.author)); !known {
		return usagef("--author must be somebody of the trust root (patchwrit trust show)")
	}
	life, err := days(g.life)
	if err != nil {
		return err
	}
	s, err := openServer(cmd)
	if err != nil {
		return err
	}
	v, err := s.model(cmd, prefix)
	if err != nil {
		return err
	}
	now := time.Now()
	p := conduct.Promotion{Type: conduct.TypePromotion, Nonce: nonce(), Author: trust.PersonID(g.author), Created: now.Unix(), Expires: now.Add(life).Unix(),
		Model: v.Digest, Registration: v.Registration.Digest(), From: v.Say, To: conduct.Say(g.to), Limits: v.Limits.Digest(), Note: canon.NoteOf(g.note)}
	if err := p.Valid(); err != nil {
		return usage{err}
	}
	if v.Missing != "" {
		return exit{exitFailure, fmt.Errorf("model %s cannot be promoted now: %s", v.Digest.Short(), v.Missing)}
	}
	tell(cmd, "promotion %s: it needs %s; they sign with patchwrit model sign", p.Statement().Digest(), quorumText(root, string(approval.Allow)))
	return writeFile(cmd, g.out, canon.MustEncode(control.SignedPromotion{Promotion: p, Approvals: []approval.Approval{}}))
}

// promotionSubject is a promotion to be signed.
func promotionSubject(p conduct.Promotion) subject {
	return subject{what: "promotion", bytes: p.Bytes(), typed: p.Statement().Digest().Short(),
		show: func(w io.Writer) error {
			t := &pairs{}
			t.add("promotion", "%s", p.Statement().Digest())
			t.add("model", "%s", p.Model)
			t.add("registration", "%s: its record, prompt and data sheet (patchwrit model show)", p.Registration)
			t.add("say", "from %s to %s", p.From, p.To)
			t.add("limits", "%s", p.Limits)
			t.add("author", "%s (cannot sign it)", p.Author)
			t.add("created", "%s", when(p.Created))
			t.add("expires", "%s, if it is not handed in", when(p.Expires))
			t.add("note", "%s", p.Note)
			return t.write(w)
		},
		page: func() (page.Subject, error) {
			return page.Subject{}, usagef("a promotion is signed with --key, --agent or --signature; there is no page for it")
		}}
}

func modelSignCmd() *cobra.Command {
	sign, with := signing{kind: approval.Promote}, []string(nil)
	cmd := &cobra.Command{
		Use: "sign FILE", Short: "sign a promotion with your own key; with the last signature it is handed in",
		Long: "Shows the promotion, adds your signature and writes the file back. Give it to the next person; or sign copies at the same time, and put them together\n" +
			"with --with. When the quorum of grants is met and a control plane is named, it is handed in. Exit code 4: it waits for more people.",
		Example: "  patchwrit model sign promotion.json --key ~/.ssh/id_ed25519",
		Args:    exactly(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return signPromotion(cmd, &sign, args[0], with) },
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	sign.addFlags(cmd)
	cmd.Flags().StringArrayVar(&with, "with", nil, "a copy of the file that others signed (repeat)")
	return cmd
}

func signPromotion(cmd *cobra.Command, sign *signing, file string, with []string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	var in control.SignedPromotion
	for i, path := range append([]string{file}, with...) {
		var next control.SignedPromotion
		if err := read(path, &next); err != nil {
			return fmt.Errorf("this is no promotion's file: %w", err)
		}
		if i == 0 {
			in.Promotion = next.Promotion
		} else if string(next.Promotion.Bytes()) != string(in.Promotion.Bytes()) {
			return fmt.Errorf("%s is of another promotion than %s", path, file)
		}
		in.Approvals = merged(in.Approvals, next.Approvals)
	}
	if err := in.Promotion.Valid(); err != nil {
		return err
	}
	if sign.some() {
		a, err := sign.sign(cmd, root, promotionSubject(in.Promotion))
		if err != nil {
			return err
		}
		in.Approvals = merged(in.Approvals, []approval.Approval{a})
	}
	if err := writeFile(cmd, file, canon.MustEncode(in)); err != nil {
		return err
	}
	return handInPromotion(cmd, root, in, file)
}

func handInPromotion(cmd *cobra.Command, root trust.Root, in control.SignedPromotion, file string) error {
	d := in.Promotion.Statement().Digest()
	if err := enough(root, approval.Allow, in.Promotion.Statement(), in.Promotion.Author, in.Approvals); err != nil {
		return waits(err, "promotion %s waits: the next person runs patchwrit model sign %s", d.Short(), file)
	}
	if serverName(cmd) == "" {
		tell(cmd, "promotion %s is signed by enough people; hand it in with patchwrit model sign %s --server …", d.Short(), file)
		return nil
	}
	s, err := openServer(cmd)
	if err != nil {
		return err
	}
	if err := s.post(cmd.Context(), "promotions", in, &struct{}{}); err != nil {
		return err
	}
	tell(cmd, "promotion %s is handed in: model %s has %s", d.Short(), in.Promotion.Model.Short(), in.Promotion.To)
	return nil
}

func modelDemoteCmd() *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: "demote [MODEL] --why TEXT", Short: "take all say from a model at once",
		Long:    "It goes back to shadow, and is watched from the beginning. Nobody has to sign for less say. What it holds already ends when it would have.",
		Example: "  patchwrit model demote --why 'the provider swapped it'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return usagef("--why says to whoever reads the ledger why")
			}
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			v, err := s.model(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			in := struct {
				Why canon.Note `json:"why"`
			}{canon.NoteOf(why)}
			if err := s.post(cmd.Context(), "models/"+string(v.Digest)+"/demote", in, &struct{}{}); err != nil {
				return err
			}
			tell(cmd, "model %s is in shadow", v.Digest.Short())
			return nil
		},
	}
	addServerFlags(cmd)
	cmd.Flags().StringVar(&why, "why", "", "the reason, for the ledger")
	return cmd
}

// registration is what the control plane enters of the model that it asks.
func registration(m dialect.Model) *conduct.Registration {
	return &conduct.Registration{Type: conduct.TypeRegistration, Model: m.Digest(), Record: string(canon.MustEncode(m)), Prompt: advice.Prompt()}
}
