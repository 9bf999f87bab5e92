package rego

// SetMaxSteps sets another bound until the returned function is called.
func SetMaxSteps(n int) func() {
	before := maxSteps
	maxSteps = n
	return func() { maxSteps = before }
}

// SetMaxAnswer sets another bound until the returned function is called.
func SetMaxAnswer(n int) func() {
	before := maxAnswer
	maxAnswer = n
	return func() { maxAnswer = before }
}
