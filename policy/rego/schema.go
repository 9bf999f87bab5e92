package rego

import (
	"encoding/json"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/patchwrit/patchwrit/docs/schema"
)

// inputSchema is the type of input for OPA's compiler: input.typo in a rule is an
// error when rules are packed, loaded or tested, and not silently undefined. OPA
// reads the parts of JSON Schema that say which members there are.
var inputSchema = sync.OnceValue(func() *ast.SchemaSet {
	var doc map[string]any
	if err := json.Unmarshal(schema.PolicyInput, &doc); err != nil {
		panic(err) // the file is part of the program; TestTheInputHasASchema
	}
	delete(doc, "$schema") // OPA knows the drafts up to 7; what it reads of this one means the same there
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, doc)
	return set
})
