package patchwrit

# Data tags (label data=gdpr+hipaa): no automatic lane, another reviewer.
reasons contains {"rule": "data_tag", "outcome": "quorum", "text": sprintf("host %s holds %s data: people decide, one reviewer more", [id, tag])} if {
	some id, f in fact_of
	some tag in f.data
	tag in tags_reviewed
}

class_wanted contains 2 if {
	some f in fact_of
	some tag in f.data
	tag in tags_reviewed
}

# Health data: without a window of its own the host is left alone.
hard_holds contains {"rule": "data_window", "host": id, "until": again, "text": sprintf("host %s holds %s data and has no window", [id, tag])} if {
	some id, f in fact_of
	some tag in f.data
	tag in tags_windowed
	f.windowed.is != "yes"
}
