package advice

import (
	"encoding/json"
	"slices"
)

// mostNames is the most names that a schema lists; where there are more, any
// text is taken, and Verify finds what is not there.
const mostNames = 400

type object = map[string]any

// Schema is the JSON Schema (draft 2020-12, the subset that providers' strict
// modes take) of an answer about this dossier: what is not there cannot be
// cited, named or ordered. Whoever ignores it is judged by Verify all the same.
func (d Dossier) Schema() []byte {
	ids, abouts, packages, items := []string{}, map[string]bool{"": true}, map[string]bool{"": true}, []string{}
	for _, e := range d.Evidence {
		ids = append(ids, e.ID)
		for _, f := range e.Facts {
			abouts[f.About], packages[f.Package] = true, true
		}
	}
	for _, i := range d.Items {
		items = append(items, i.Key)
	}
	text, integer := object{"type": "string"}, object{"type": "integer"}
	evidence, key := oneOf(ids, MaxEvidence), oneOf(items, mostNames)
	claim := record(object{"id": text, "kind": oneOf(Kinds, mostNames), "about": oneOf(names(abouts), mostNames), "package": oneOf(names(packages), mostNames),
		"source": text, "version": text, "value": text, "as_of": integer, "evidence": list(evidence),
		"quotes": list(record(object{"evidence": evidence, "from": integer, "to": integer}))})
	root := record(object{
		"type": oneOf([]string{TypeAnswer}, 1), "dossier": oneOf([]string{string(d.Digest())}, 1), "abstain": object{"type": "boolean"},
		"claims":   list(claim),
		"proposal": record(object{"action": oneOf(Actions, mostNames), "order": list(key), "because": list(text)}),
		"unknowns": list(text), "narrative": text,
	})
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	raw, err := json.Marshal(root)
	if err != nil {
		panic("advice: this is a bug: " + err.Error())
	}
	return raw
}

func names(set map[string]bool) []string {
	out := []string{}
	for n := range set {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// oneOf is a string of a list; any string where the list is empty or too long.
func oneOf[T ~string](of []T, most int) object {
	if len(of) == 0 || len(of) > most {
		return object{"type": "string"}
	}
	return object{"type": "string", "enum": of}
}

func list(of object) object { return object{"type": "array", "items": of} }

// record is an object with just these members.
func record(members object) object {
	required := []string{}
	for name := range members {
		required = append(required, name)
	}
	slices.Sort(required)
	return object{"type": "object", "properties": members, "required": required, "additionalProperties": false}
}
