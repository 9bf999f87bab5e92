package patchwrit_test

import data.patchwrit

is(x) := {"is": x, "source": "test"}

# A good host, a good artefact, a plan that runs by itself.
host := {"id": "h", "level": is("L4"), "exposed": is("no")}

artefact := {
	"package": "p", "arch": "a", "to": "2", "since": 1, "cooldown": 0, "corroborated": is(""),
	"new_publisher": is("no"), "new_script": is("no"), "downgrade": is("no"), "new_vendor": is("no"),
	"new_origin": is("no"), "major": is("no"), "core": is("no"),
}

plan_of(h, a) := {
	"at": 1000, "grant": "g", "plan": {"class": "routine"},
	"hosts": [{"id": "h", "domain": "a", "labels": []}],
	"branches": [{"host": "h", "network": false, "changes": [{"op": "upgrade", "package": "p", "to": "2"}]}],
	"dossier": {"reason": "", "hosts": [{"id": "h", "causes": [{"advisories": ["C"]}]}], "artefacts": [{"package": "p", "to": "2", "chain": {"signers": ["s"]}, "breaks": []}]},
	"facts": {"hosts": [object.union(host, h)], "artefacts": [object.union(artefact, a)]},
}

says(h, a) := d if d := patchwrit.decision with input as plan_of(h, a)

rules(h, a) := {r.rule | some r in says(h, a).reasons}

test_good_runs_by_itself if says({}, {}).outcome == "allow"

test_level_observe if says({"level": is("L0")}, {}).outcome == "deny"

test_level_people_another_reviewer if {
	says({"level": is("L1")}, {}).outcome == "quorum"
	says({"level": is("L1")}, {}).class == "sensitive"
}

test_level_people if {
	says({"level": is("L2")}, {}).outcome == "quorum"
	says({"level": is("L2")}, {}).class == "routine"
}

test_level_near_deadline if {
	says({"level": is("L3")}, {}).outcome == "quorum"
	says({"level": is("L3"), "deadline": is("60D")}, {}).outcome == "quorum"
	says({"level": is("L3"), "deadline": is("14D")}, {}).outcome == "allow"
}

test_unknown_is_strict if {
	"unknown_fact" in rules({"level": is("")}, {})
	"unknown_fact" in rules({"exposed": is("")}, {})
	says({"exposed": is("")}, {}).outcome == "quorum"
}

test_no_facts_is_strict if {
	d := patchwrit.decision with input as object.remove(plan_of({}, {}), ["facts"])
	d.outcome == "quorum"
}

test_exposed if rules({"exposed": is("yes")}, {}) == {"exposed", "granted"}

test_window_closed if {
	d := says({"windowed": is("yes"), "windows": [{"from": 2000, "until": 3000}]}, {})
	d.outcome == "hold"
	d.until == 2000
}

test_window_open if says({"windowed": is("yes"), "windows": [{"from": 1000, "until": 1001}]}, {}).outcome == "allow"

test_window_over if says({"windowed": is("yes"), "windows": [{"from": 10, "until": 1000}]}, {}).until == 4600

test_cooldown if {
	says({}, {"cooldown": 1500}).outcome == "hold"
	says({}, {"cooldown": 1500}).until == 1500
	says({}, {"cooldown": 1000}).outcome == "allow"
}

test_freeze if {
	d := patchwrit.decision with input as object.union(plan_of({"due": 1}, {}), {"hosts": [{"id": "h", "domain": "a", "labels": [{"key": "freeze_until", "value": "1700"}]}]})
	d.outcome == "hold"
	d.until == 1700
}

test_forensic if {
	says({"deadline": is("3DF")}, {}).outcome == "hold"
	says({"triage": is("needed")}, {}).outcome == "hold"
	says({"deadline": is("3DF"), "triage": is("none")}, {}).outcome == "hold"
	says({"deadline": is("3DF"), "triage": is("done")}, {}).outcome == "allow"
	says({"deadline": is("3DF"), "due": 1}, {}).outcome == "hold"
}

test_data_tags if {
	every tag in ["gdpr", "pci", "else"] {
		says({"data": [tag]}, {}).outcome == "quorum"
		says({"data": [tag]}, {}).class == "sensitive"
	}
	says({"data": ["none"]}, {}).outcome == "allow"
}

test_health_data_needs_a_window if {
	says({"data": ["hipaa"]}, {}).outcome == "hold"
	says({"data": ["hipaa"], "windowed": is("yes"), "windows": [{"from": 1, "until": 2000}]}, {}).outcome == "quorum"
}

test_each_trigger_alone if {
	every name, _ in patchwrit.triggers {
		rules({}, {name: is("yes")}) == {"granted", sprintf("nonstandard_%s", [name])}
		says({}, {name: is("yes")}).outcome == "quorum"
		says({}, {name: is("")}).outcome == "quorum"
	}
}

test_overdue_is_not_held if {
	closed := {"windowed": is("yes"), "windows": []}
	says(object.union(closed, {"due": 1000}), {}).outcome == "quorum"
	"overdue" in rules(object.union(closed, {"due": 1000}), {})
	says(object.union(closed, {"due": 1001}), {}).outcome == "hold"
	says(object.union(closed, {"deferred": 3}), {}).outcome == "quorum"
	says(object.union(closed, {"deferred": 2}), {}).outcome == "hold"
	says({"due": 1}, {"cooldown": 1500}).outcome == "quorum"
}
