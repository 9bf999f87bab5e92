// Package schematest holds JSON Schemas to what the code really writes.
//
// The parties: a test with a schema of docs/schema, real documents, and the Go
// type that they are written from. The promise: a document is judged by a JSON
// Schema validator that is not ours, and Describes walks type and schema side by
// side, so that a member that only one of them has is an error. It links to no
// binary.
package schematest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is a compiled schema with its own text.
type Schema struct {
	compiled *jsonschema.Schema
	root     map[string]any
}

// Compile compiles a schema, with others that it refers to, by their address.
func Compile(t testing.TB, raw []byte, others ...map[string][]byte) Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, more := range others {
		for url, text := range more {
			if err := c.AddResource(url, document(t, text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	root := document(t, raw)
	if err := c.AddResource("schema.json", root); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("the schema does not compile: %v", err)
	}
	m, _ := root.(map[string]any)
	return Schema{s, m}
}

func document(t testing.TB, raw []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("this is no JSON: %v", err)
	}
	return v
}

// Judge says what is wrong with a document; nil means valid.
func (s Schema) Judge(t testing.TB, raw []byte) error {
	t.Helper()
	return s.compiled.Validate(document(t, raw))
}

// Accepts fails where the document is not valid.
func (s Schema) Accepts(t testing.TB, what string, raw []byte) {
	t.Helper()
	if err := s.Judge(t, raw); err != nil {
		t.Errorf("%s is not valid: %v\n%s", what, err, raw)
	}
}

// Describes lists where a Go type's JSON and the schema differ: members that
// only one has, members that are required and may be left out or the other way
// round, objects that allow members without a name, and kinds of value.
func (s Schema) Describes(v reflect.Type) []string {
	w := walk{root: s.root, seen: map[string]bool{}}
	w.at("$", s.root, v)
	return w.wrong
}

type walk struct {
	root  map[string]any
	seen  map[string]bool
	wrong []string
}

func (w *walk) say(path, format string, args ...any) {
	w.wrong = append(w.wrong, path+": "+fmt.Sprintf(format, args...))
}

// follow resolves a $ref inside the document.
func (w *walk) follow(node map[string]any) map[string]any {
	for range 8 {
		ref, ok := node["$ref"].(string)
		if !ok {
			break
		}
		to := any(w.root)
		for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			m, _ := to.(map[string]any)
			to = m[step]
		}
		node, _ = to.(map[string]any)
	}
	return node
}

func (w *walk) at(path string, node map[string]any, v reflect.Type) {
	node = w.follow(node)
	if v.Kind() == reflect.Pointer { // null, or the value
		for _, option := range anyOf(node) {
			if w.follow(option)["type"] != "null" {
				w.at(path, option, v.Elem())
				return
			}
		}
		w.kind(path, node, v.Elem(), "null")
		return
	}
	w.kind(path, node, v, "")
}

func anyOf(node map[string]any) (out []map[string]any) {
	list, _ := node["anyOf"].([]any)
	for _, o := range list {
		if m, ok := o.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// kind compares one value; also is a second type that the schema must allow.
func (w *walk) kind(path string, node map[string]any, v reflect.Type, also string) {
	want := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Slice: "array", reflect.Struct: "object", reflect.Map: "object",
		reflect.Int: "integer", reflect.Int64: "integer", reflect.Uint64: "integer", reflect.Float64: "number"}[v.Kind()]
	if got := types(node); want == "" || !slices.Equal(got, types(map[string]any{"type": slices.DeleteFunc([]any{want, also}, func(a any) bool { return a == "" })})) {
		w.say(path, "the schema has the type %v, %s is written as %q %s", got, v, want, also)
		return
	}
	switch v.Kind() {
	case reflect.Slice:
		items, _ := node["items"].(map[string]any)
		w.at(path+"[]", items, v.Elem())
	case reflect.Map:
		values, _ := node["additionalProperties"].(map[string]any)
		w.at(path+".*", values, v.Elem())
	case reflect.Struct:
		w.object(path, node, v)
	}
}

func types(node map[string]any) (out []string) {
	switch x := node["type"].(type) {
	case string:
		return []string{x}
	case []any:
		for _, t := range x {
			out = append(out, fmt.Sprint(t))
		}
	}
	slices.Sort(out)
	return out
}

func (w *walk) object(path string, node map[string]any, v reflect.Type) {
	key := fmt.Sprintf("%p %s", node, v)
	if w.seen[key] {
		return
	}
	w.seen[key] = true
	if node["additionalProperties"] != false {
		w.say(path, "additionalProperties is not false")
	}
	props, _ := node["properties"].(map[string]any)
	required := map[string]bool{}
	list, _ := node["required"].([]any)
	for _, r := range list {
		required[fmt.Sprint(r)] = true
	}
	fields := map[string]reflect.StructField{}
	collect(v, fields)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		p, ok := props[name].(map[string]any)
		if !ok {
			w.say(path, "%s writes %q, which the schema does not have", v, name)
			continue
		}
		optional := strings.Contains(fields[name].Tag.Get("json"), ",omitempty")
		if optional == required[name] {
			w.say(path, "%q: required is %v in the schema, may be left out is %v in %s", name, required[name], optional, v)
		}
		as := fields[name].Type
		if optional && as.Kind() == reflect.Pointer { // left out, never null
			as = as.Elem()
		}
		w.at(path+"."+name, p, as)
	}
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if _, ok := fields[name]; !ok {
			w.say(path, "the schema has %q, which %s does not write", name, v)
		}
	}
}

// collect gives the fields that encoding/json writes, by name.
func collect(v reflect.Type, into map[string]reflect.StructField) {
	for i := range v.NumField() {
		f := v.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			collect(f.Type, into)
		case f.IsExported() && name != "" && name != "-":
			into[name] = f
		}
	}
}

// Changed is a JSON document with one member set to another value, or taken out
// where the value is nil; path leads through objects and to element 0 of lists.
func Changed(t testing.TB, raw []byte, path string, value any) []byte {
	t.Helper()
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	at, steps := doc, strings.Split(path, ".")
	for i, step := range steps {
		if list, ok := at.([]any); ok && len(list) > 0 {
			at = list[0]
		}
		m, ok := at.(map[string]any)
		if !ok {
			t.Fatalf("%s: there is no object at step %d", path, i)
		}
		if i == len(steps)-1 {
			if m[step] = value; value == nil {
				delete(m, step)
			}
			break
		}
		at = m[step]
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
