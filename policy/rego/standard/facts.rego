package patchwrit

# What rules know of hosts and artefacts (docs/POLICY.md). A fact that nobody
# gave is the empty string, 0 for a time, and an empty list: a rule of the house
# that compares it must not fall silent.
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

unknown_host := object.union(
	{name: {"is": "", "source": ""} | some name in {
		"level", "exposed", "kev", "automatable", "total", "must_patch", "reboot", "deadline", "triage", "windowed",
	}},
	{"id": "", "group": "", "data": [], "windows": [], "due": 0, "deferred": 0},
)

# How long a hold lasts when nothing says when it ends: it is asked again then.
again := input.at + 3600
