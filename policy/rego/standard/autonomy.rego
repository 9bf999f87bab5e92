package patchwrit

# Autonomy levels, a label that the keepers sign (autonomy=L0 … L4):
# L0 observe, L1 people and another reviewer, L2 people, L3 by itself under a
# grant when the deadline is near, L4 by itself under a grant. Unknown is L2.
reasons contains {"rule": "autonomy_observe", "outcome": "deny", "text": sprintf("host %s is at level L0: it is only observed", [id])} if {
	some id, f in fact_of
	f.level.is == "L0"
}

reasons contains {"rule": "autonomy", "outcome": "quorum", "text": sprintf("host %s is at level %s: people decide", [id, f.level.is])} if {
	some id, f in fact_of
	f.level.is in {"L1", "L2"}
}

reasons contains {"rule": "autonomy", "outcome": "quorum", "text": sprintf("host %s is at level L3, and no deadline of 14 days or less is known", [id])} if {
	input.grant != ""
	some id, f in fact_of
	f.level.is == "L3"
	not f.deadline.is in {"14D", "3D", "3DF"}
}

class_wanted contains 2 if {
	some f in fact_of
	f.level.is == "L1"
}

# Unknown takes the stricter branch: under a grant people decide.
reasons contains {"rule": "unknown_fact", "outcome": "quorum", "text": sprintf("host %s: %s is unknown", [id, name])} if {
	input.grant != ""
	some id, f in fact_of
	some name in needs_known
	f[name].is == ""
}

# Sources of deadlines that do not say: the strictest one may be due.
reasons contains {"rule": "unknown_deadline", "outcome": "quorum", "text": sprintf("host %s: its deadline is unknown, though there are sources of deadlines", [id])} if {
	input.grant != ""
	some id, f in fact_of
	f.deadline.is == ""
	f.deadline.source != ""
}

reasons contains {"rule": "exposed", "outcome": "quorum", "text": sprintf("host %s can be reached from the internet: people decide", [id])} if {
	input.grant != ""
	some id, f in fact_of
	f.exposed.is == "yes"
}
