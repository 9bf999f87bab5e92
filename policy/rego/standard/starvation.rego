package patchwrit

# Overdue work, and work that was put off too often, is not held by soft rules:
# the hold becomes a question to people.
starving(id) if {
	f := fact_of[id]
	f.due > 0
	f.due <= input.at
}

starving(id) if fact_of[id].deferred >= deferred_most

holds contains h if some h in hard_holds

holds contains h if {
	some h in soft_holds
	not starving(h.host)
}

reasons contains {"rule": h.rule, "outcome": "hold", "text": h.text} if some h in holds

reasons contains {"rule": "overdue", "outcome": "quorum", "text": sprintf("host %s: %s, but the work is overdue: people decide now", [h.host, h.rule])} if {
	some h in soft_holds
	starving(h.host)
}
