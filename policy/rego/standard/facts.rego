package patchwrit

# What rules know of hosts and artefacts (docs/POLICY.md). An answer that
# nobody gave is the empty string; times, tags and windows are then not there.
facts_hosts := object.get(object.get(input, "facts", {}), "hosts", [])

facts_artefacts := object.get(object.get(input, "facts", {}), "artefacts", [])

# A host of the plan with its facts; one without facts is unknown in all.
fact_of[id] := f if {
	some h in input.hosts
	id := h.id
	f := object.union(unknown_host, _given(id))
}

_given(id) := f if {
	some f in facts_hosts
	f.id == id
} else := {}

unknown_host := {name: {"is": ""} | some name in {
	"level", "exposed", "kev", "automatable", "total", "must_patch", "reboot", "deadline", "triage", "windowed",
}}

# How long a hold lasts when nothing says when it ends: it is asked again then.
again := input.at + 3600
