package patchwrit

# What rules know of hosts and artefacts (docs/POLICY.md). A fact that nobody
# gave is the empty string, or 0 for a time.
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

_unknown := {"is": "", "source": ""}

unknown_host := {
	"id": "", "group": "", "level": _unknown, "data": [], "exposed": _unknown, "kev": _unknown,
	"automatable": _unknown, "total": _unknown, "must_patch": _unknown, "reboot": _unknown,
	"deadline": _unknown, "due": 0, "deferred": 0, "triage": _unknown, "windowed": _unknown, "windows": [],
}

# How long a hold lasts when nothing says when it ends: it is asked again then.
again := input.at + 3600
