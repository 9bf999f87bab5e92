package patchwrit

# What a house may want otherwise: change it here, sign, and compare
# (patchwrit policy diff) before it is activated.

# Facts that must be known of a host before a grant lets anything run there.
needs_known := {"exposed", "level"}

# Work that was put off this often is not held by soft rules any more.
deferred_most := 3

# How a model that advises is watched, and what it needs before people may promote
# it (docs/ADVICE.md). What is not named is as the program has it.
# advice_limits := {"promote_cases": 200}

# Data tags whose hosts have no automatic lane and need another reviewer.
tags_reviewed := {"gdpr", "hipaa", "pci", "else"}

# Data tags whose hosts may change only within a window of their own.
tags_windowed := {"hipaa"}
